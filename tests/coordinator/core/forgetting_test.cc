#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

Options Keeping(size_t ended) {
  Options options;
  options.max_ended = ended;
  return options;
}

contract::JobSpec Keyed(const std::string& key) {
  contract::JobSpec spec = Spec("night");
  spec.idempotency_key = key;
  return spec;
}

void Cancel(ScriptedCluster& cluster, const std::string& job) {
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {job})).ok());
}

TEST(Forgetting, TheJobsThatEndedAndWereSubmittedFirstGo) {
  ScriptedCluster cluster(Keeping(2));
  std::vector<std::string> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(cluster.Submit(Keyed(fmt::format("k{}", i))));
  for (const int i : {2, 0, 1}) Cancel(cluster, jobs[i]);
  EXPECT_EQ(cluster.core().tables().ended_jobs().size(), 3u);  // only who comes makes room
  const std::string next = cluster.Submit(Keyed("k3"));
  const Tables& tables = cluster.core().tables();
  EXPECT_EQ(tables.FindJob(jobs[0]), nullptr);
  EXPECT_EQ(tables.FindJob(jobs[1]), nullptr);
  EXPECT_NE(tables.FindJob(jobs[2]), nullptr);
  EXPECT_EQ(next, "night-4");
  EXPECT_EQ(tables.JobOfKey("k0"), nullptr);
  ASSERT_NE(tables.JobOfKey("k2"), nullptr);
  EXPECT_EQ(cluster.Keep(cluster.core().Cancel(cluster.now(), {jobs[0]})).status().code(), absl::StatusCode::kNotFound);
}

TEST(Forgetting, OpenJobsStayHoweverOldTheyAre) {
  ScriptedCluster cluster(Keeping(1));
  cluster.Join("a", 1);
  const std::string runs = cluster.Run(Spec("long"));
  for (int i = 0; i < 4; ++i) Cancel(cluster, cluster.Submit(Spec("short")));
  EXPECT_EQ(cluster.State(runs), JobState::kRunning);
  EXPECT_EQ(cluster.core().tables().jobs().size(), 2u);
}

TEST(Forgetting, NumbersAreNeverGivenOutAgainAlsoAfterARestart) {
  ScriptedCluster cluster(Keeping(1));
  for (int i = 1; i <= 3; ++i) {
    const std::string job = cluster.Submit(Spec("night"));
    EXPECT_EQ(job, fmt::format("night-{}", i));
    Cancel(cluster, job);
    cluster.RestartCoordinator();
  }
}

TEST(Forgetting, CommitsGoWithTheirJob) {
  ScriptedCluster cluster(Keeping(1));
  cluster.Join("a", 1);
  const std::string first = cluster.Run(Spec("night"));
  ASSERT_TRUE(
      cluster
          .Keep(cluster.core().Commit(cluster.now(), {{"a", cluster.worker("a").incarnation}, first, {1, 5, kDigest}}))
          .ok());
  Cancel(cluster, first);
  cluster.BeatAll(2);
  ASSERT_EQ(cluster.State(first), JobState::kCancelled);
  ASSERT_NE(cluster.core().tables().LastCommit(first), nullptr);
  cluster.Submit(Spec("night"));
  EXPECT_EQ(cluster.core().tables().LastCommit(first), nullptr);
  EXPECT_TRUE(cluster.core().tables().Check().ok()) << cluster.core().tables().Check();
}

TEST(Forgetting, AFewAtATimeWhereTheLimitWasLowered) {
  ScriptedCluster cluster(Keeping(100));
  for (int i = 0; i < 30; ++i) Cancel(cluster, cluster.Submit(Spec("night")));
  cluster.set_options(Keeping(5));
  cluster.RestartCoordinator();
  cluster.Submit(Spec("night"));
  EXPECT_EQ(cluster.core().tables().ended_jobs().size(), 22u);
  for (int i = 0; i < 3; ++i) cluster.Submit(Spec("night"));
  EXPECT_EQ(cluster.core().tables().ended_jobs().size(), 4u);
}

// What a full disk kept from being forgotten is forgotten with the next submission.
TEST(Forgetting, HangsOnBeingKept) {
  ScriptedCluster cluster(Keeping(1));
  const std::string first = cluster.Submit(Spec("night"));
  Cancel(cluster, first);
  cluster.disk_full = true;
  EXPECT_FALSE(cluster.Keep(cluster.core().Submit(cluster.now(), {Spec("night")})).ok());
  EXPECT_NE(cluster.core().tables().FindJob(first), nullptr);
  cluster.disk_full = false;
  cluster.Submit(Spec("night"));
  EXPECT_EQ(cluster.core().tables().FindJob(first), nullptr);
}

}  // namespace
}  // namespace filigree::coordinator
