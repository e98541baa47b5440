#include "worker/parallel/launch.h"

#include <gtest/gtest.h>

#include <map>

namespace filigree::parallel {
namespace {

using Variables = std::map<std::string, std::string>;

Environment Of(const Variables& variables) {
  return [variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

const Variables kRight = {{"FILIGREE_RANK", "1"}, {"FILIGREE_RANKS", "3"}, {"FILIGREE_STORE", "/s"}};

TEST(Launch, ReadsWhatIsSetAndWhatOtherLaunchersSay) {
  const absl::StatusOr<Launch> plain = ReadLaunch(Of(kRight));
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->rank, 1);
  EXPECT_EQ(plain->ranks, 3);
  EXPECT_EQ(plain->store, "/s");
  EXPECT_EQ(plain->generation, "0");
  EXPECT_EQ(plain->host, "");
  const Variables others = {{"SLURM_PROCID", "5"},   {"SLURM_NTASKS", "8"},         {"FILIGREE_STORE", "/s"},
                            {"SLURM_JOB_ID", "77"},  {"FILIGREE_RANK", ""},         {"OMPI_COMM_WORLD_RANK", "2"},
                            {"FILIGREE_HOST", "h1"}, {"FILIGREE_INTERFACE", "eth1"}};
  const absl::StatusOr<Launch> slurm = ReadLaunch(Of(others));
  ASSERT_TRUE(slurm.ok()) << slurm.status();
  EXPECT_EQ(slurm->rank, 5);
  EXPECT_EQ(slurm->ranks, 8);
  EXPECT_EQ(slurm->generation, "77");
  EXPECT_EQ(slurm->host, "h1");
  EXPECT_EQ(slurm->interface, "eth1");
}

TEST(Launch, SaysWhichVariableIsWrong) {
  const std::vector<std::pair<const char*, std::vector<const char*>>> wrong = {
      {"FILIGREE_RANK", {"", "-1", "3", "1x", " 1", "99999999999999999999"}},
      {"FILIGREE_RANKS", {"", "0", "-3", "many", "65537"}},
      {"FILIGREE_STORE", {""}},
      {"FILIGREE_GENERATION", {"a/b", "a b", "..\n"}}};
  for (const auto& [name, values] : wrong) {
    for (const char* value : values) {
      Variables variables = kRight;
      variables[name] = value;
      const absl::Status status = ReadLaunch(Of(variables)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name << " = " << value;
      EXPECT_EQ(std::string(status.message()).find(name), 0) << status;
    }
  }
}

TEST(Launch, RanksMeetThroughAStoreWhereTheSettingsOrTheStoreSaySo) {
  config::Settings settings;
  EXPECT_FALSE(MeetThroughStore(settings, Of({})));
  EXPECT_TRUE(MeetThroughStore(settings, Of(kRight)));
  EXPECT_TRUE(MeetThroughStore(absl::NotFoundError("no settings"), Of(kRight)));
  settings.parallel.backend = config::Backend::kGloo;
  EXPECT_TRUE(MeetThroughStore(settings, Of({})));
  settings.parallel.backend = config::Backend::kMpi;
  EXPECT_FALSE(MeetThroughStore(settings, Of(kRight)));
}

}  // namespace
}  // namespace filigree::parallel
