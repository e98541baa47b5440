#ifndef FILIGREE_TESTS_WORKER_DATA_TEMP_FOLDER_H_
#define FILIGREE_TESTS_WORKER_DATA_TEMP_FOLDER_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace filigree::data {

// A folder of its own for a test, removed at its end.
class TempFolder {
 public:
  TempFolder() {
    std::string name = ::testing::TempDir() + "/filigree-data-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  // Makes the file and the folders above it; returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    const std::filesystem::path path = path_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }

 private:
  std::string path_;
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace filigree::data

#endif  // FILIGREE_TESTS_WORKER_DATA_TEMP_FOLDER_H_
