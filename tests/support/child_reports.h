#ifndef FILIGREE_TESTS_SUPPORT_CHILD_REPORTS_H_
#define FILIGREE_TESTS_SUPPORT_CHILD_REPORTS_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

// For tests that start other processes of ours and kill them, or do not look at how they end: what the sanitizers of
// the presets asan-ubsan and tsan report there fails the test program, with the report. Including this header is all; a
// process that this one starts writes into a folder that is looked at when all tests are over. What is reported of this
// process itself ends it as usual: its runtime has read its options already. Python's side is reports.py.

namespace filigree {

class ChildReports : public testing::Environment {
 public:
  void SetUp() override {
    folder_ = testing::TempDir() + "reports_XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    Add("ASAN_OPTIONS", "handle_abort=1");
    Add("UBSAN_OPTIONS", "abort_on_error=1");  // reports.py says why
    Add("TSAN_OPTIONS", "");
  }
  void TearDown() override {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      std::ifstream file(entry.path(), std::ios::binary);
      ADD_FAILURE() << "a process that a test started reports:\n"
                    << std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

 private:
  void Add(const char* variable, const std::string& options) {
    const char* const before = std::getenv(variable);
    const std::string all = (before == nullptr ? "" : std::string(before) + ":") + options;
    setenv(variable, (all + ":log_path=" + folder_ + "/report").c_str(), 1);
  }
  std::string folder_;
};

inline testing::Environment* const kChildReports = testing::AddGlobalTestEnvironment(new ChildReports);

}  // namespace filigree

#endif  // FILIGREE_TESTS_SUPPORT_CHILD_REPORTS_H_
