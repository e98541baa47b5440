#include "worker/machine/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace filigree::machine {
namespace {

// A tree of control groups as it is mounted, with limit files.
class ControlGroups : public ::testing::Test {
 protected:
  ~ControlGroups() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& file, const std::string& text) {
    const std::filesystem::path path = root_ / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  int64_t Limit(const std::string& groups) const { return ControlGroupLimit(groups, root_); }

  const std::filesystem::path root_ =
      std::filesystem::path(testing::TempDir()) / ("filigree_groups_" + std::to_string(getpid()));
};

TEST_F(ControlGroups, TheLeastOfAGroupAndThoseAroundItCounts) {
  Write("system.slice/slurmstepd.scope/job_7/memory.max", "8589934592");
  Write("system.slice/slurmstepd.scope/job_7/step_0/memory.max", "max");
  Write("system.slice/slurmstepd.scope/job_8/memory.max", "1024");
  EXPECT_EQ(Limit("0::/system.slice/slurmstepd.scope/job_7/step_0\n"), 8589934592);
  Write("system.slice/memory.max", "4096");
  EXPECT_EQ(Limit("0::/system.slice/slurmstepd.scope/job_7/step_0\n"), 4096);
}

TEST_F(ControlGroups, TheFirstVersionHasAHierarchyOfItsOwn) {
  Write("memory/slurm/job_7/memory.limit_in_bytes", "2048");
  Write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(Limit("11:cpu,cpuacct:/\n4:memory:/slurm/job_7\n1:name=systemd:/\n0::/\n"), 2048);
  EXPECT_EQ(Limit("4:hugetlb,memory:/slurm/job_7\n"), 2048);
  EXPECT_EQ(Limit("4:memorylike:/slurm/job_7\n"), 9223372036854771712);
}

TEST_F(ControlGroups, AContainerSeesItsOwnGroupAsTheRoot) {
  Write("memory.max", "512");
  EXPECT_EQ(Limit("0::/docker/abc\n"), 512);
  EXPECT_EQ(Limit(""), 512);
}

TEST_F(ControlGroups, WithoutLimitsOrSenseThereIsNone) {
  for (const char* groups : {"", "0::/a/b\n", "nonsense\n", "0:\n", "0::\n", "0::a\n", "0::/../..\n"}) {
    EXPECT_EQ(Limit(groups), INT64_MAX) << groups;
  }
}

TEST(UsableMemory, IsSome) { EXPECT_GT(UsableMemory(), int64_t{1} << 28); }

}  // namespace
}  // namespace filigree::machine
