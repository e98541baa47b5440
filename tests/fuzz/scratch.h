#ifndef FILIGREE_TESTS_FUZZ_SCRATCH_H_
#define FILIGREE_TESTS_FUZZ_SCRATCH_H_

#include <stdlib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "kernels/base/check.h"

namespace filigree::fuzz {

// A folder for parsers that want files; in memory where the machine has such a place, since nobody needs them later.
class Scratch {
 public:
  Scratch() {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    path_ = (memory ? std::string("/dev/shm") : std::filesystem::temp_directory_path().string()) + "/fuzzXXXXXX";
    CHECK(::mkdtemp(path_.data()) != nullptr, "no folder {}", path_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  void Write(const std::string& name, std::string_view bytes) const {
    std::ofstream file(*this / name, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    CHECK(file.flush().good(), "cannot write {}", *this / name);
  }

 private:
  std::string path_;
};

}  // namespace filigree::fuzz

#endif  // FILIGREE_TESTS_FUZZ_SCRATCH_H_
