#include "tests/support/child_reports.h"

#include <gtest/gtest-spi.h>

#include <cstdlib>

namespace filigree {
namespace {

TEST(ChildReportsTest, AReportOfAProcessFailsWithItsText) {
  ChildReports reports;
  reports.SetUp();
  // Where the runtime of a sanitizer writes: log_path, the process id behind it.
  ASSERT_EQ(std::system("echo 'ERROR: a report' > \"${TSAN_OPTIONS##*log_path=}.$$\""), 0);
  EXPECT_NONFATAL_FAILURE(reports.TearDown(), "ERROR: a report");
}

TEST(ChildReportsTest, NothingReportedIsNoFailure) {
  ChildReports reports;
  reports.SetUp();
  ASSERT_EQ(std::system("true"), 0);
  reports.TearDown();
}

TEST(ChildReportsTest, OptionsThatWereThereStay) {
  setenv("TSAN_OPTIONS", "history_size=2", 1);
  ChildReports reports;
  reports.SetUp();
  const std::string options = std::getenv("TSAN_OPTIONS");
  EXPECT_EQ(options.rfind("history_size=2:", 0), 0U) << options;
  reports.TearDown();
}

}  // namespace
}  // namespace filigree
