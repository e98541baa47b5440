#include "coordinator/tables/tables.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

// Rows of a cluster in which a job runs on two workers and has committed.
Changes SoundRows() {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  cluster.Join("b", 1);
  contract::JobSpec spec = Spec("job", 2, 1, 2);
  spec.idempotency_key = "key";
  const std::string job = cluster.Run(spec);
  EXPECT_TRUE(cluster.Commit(job, 10).ok());
  const Tables& tables = cluster.core().tables();
  Changes rows;
  rows.epoch = tables.epoch();
  for (const auto& [name, row] : tables.workers()) rows.workers.push_back(row);
  for (const auto& [id, row] : tables.jobs()) rows.jobs.push_back(row);
  rows.commits.push_back(*tables.LastCommit(job));
  return rows;
}

void ExpectRefused(const std::string& why, const std::function<void(Changes&)>& spoil) {
  Changes rows = SoundRows();
  spoil(rows);
  Tables tables;
  tables.Apply(rows);
  const absl::Status status = tables.Check();
  EXPECT_TRUE(Says(status, absl::StatusCode::kDataLoss, why)) << why << "\n" << status;
}

void EditSpec(Changes& rows, const std::function<void(contract::JobSpec&)>& edit) {
  contract::JobSpec spec = *rows.jobs[0].spec;
  edit(spec);
  rows.jobs[0].spec = std::make_shared<const contract::JobSpec>(spec);
}

TEST(Tables, SoundRowsPass) {
  Tables tables;
  EXPECT_TRUE(tables.Check().ok());
  tables.Apply(SoundRows());
  EXPECT_TRUE(tables.Check().ok()) << tables.Check();
}

TEST(Tables, WorkersThatCannotBeAreRefused) {
  ExpectRefused("worker a: has 0 slots", [](Changes& rows) { rows.workers[0].slots = 0; });
  ExpectRefused("worker b: has incarnation 0", [](Changes& rows) { rows.workers[1].incarnation = 0; });
}

TEST(Tables, RanksThatCannotBeAreRefused) {
  ExpectRefused("rank on the unknown worker c", [](Changes& rows) { rows.jobs[0].ranks[1].worker = "c"; });
  ExpectRefused("incarnation 2 of worker b, which is at 1",
                [](Changes& rows) { rows.jobs[0].ranks[1].incarnation = 2; });
  ExpectRefused("incarnation 0 of worker b", [](Changes& rows) { rows.jobs[0].ranks[1].incarnation = 0; });
  ExpectRefused("has 1 ranks on a grid of 2 x 1", [](Changes& rows) { rows.jobs[0].ranks.pop_back(); });
  ExpectRefused("has 3 replicas, of 2 to 2", [](Changes& rows) { rows.jobs[0].data = 3; });
  ExpectRefused("has -1 replicas", [](Changes& rows) { rows.jobs[0].data = -1; });
  ExpectRefused("has 2 ranks and no generation", [](Changes& rows) { rows.jobs[0].generation = 0; });
  ExpectRefused("worker a: has 1 slots and more ranks", [](Changes& rows) { rows.jobs[0].ranks[1] = {"a", 1}; });
}

TEST(Tables, StatesThatDoNotFitTheirRanksAreRefused) {
  ExpectRefused("is running and holds no ranks", [](Changes& rows) { rows.jobs[0].held = false; });
  for (const JobState state : {JobState::kSubmitted, JobState::kQueued, JobState::kDone, JobState::kFailed})
    ExpectRefused("and holds ranks", [&](Changes& rows) { rows.jobs[0].state = state; });
  ExpectRefused("is running with intent stop", [](Changes& rows) { rows.jobs[0].intent = Intent::kStop; });
  ExpectRefused("is draining with intent none", [](Changes& rows) { rows.jobs[0].state = JobState::kDraining; });
}

TEST(Tables, NamesNumbersAndKeysBelongToOneJob) {
  ExpectRefused("has no spec", [](Changes& rows) { rows.jobs[0].spec = nullptr; });
  ExpectRefused("number or a generation below", [](Changes& rows) { rows.jobs[0].number = 0; });
  ExpectRefused("is number 2 of name job", [](Changes& rows) { rows.jobs[0].number = 2; });
  ExpectRefused("is number 1 of name other",
                [](Changes& rows) { EditSpec(rows, [](contract::JobSpec& spec) { spec.name = "other"; }); });
  ExpectRefused("shares its idempotency_key with job job-2", [](Changes& rows) {
    JobRow twin;
    twin.id = "job-2";
    twin.number = 2;
    twin.spec = rows.jobs[0].spec;
    rows.jobs.push_back(twin);
  });
}

TEST(Tables, CommitsThatCannotBeAreRefused) {
  ExpectRefused("commit of generation 2, but is at 1", [](Changes& rows) { rows.commits[0].point.generation = 2; });
  ExpectRefused("resumed from step 11, which is not among its commits", [](Changes& rows) {
    rows.jobs[0].resume = CommitPoint{1, 11, kDigest};
  });
  ExpectRefused("resumed from step 10, which", [](Changes& rows) {
    rows.jobs[0].resume = rows.commits[0].point;
    rows.commits.clear();
  });
  ExpectRefused("of the unknown job other-7", [](Changes& rows) {
    rows.commits[0].job = "other-7";
    rows.jobs.clear();
  });
}

TEST(JobStates, NamesAreReadAsTheyAreWritten) {
  for (int i = 0; i < kJobStates; ++i) EXPECT_EQ(JobStateOf(Name(static_cast<JobState>(i))), static_cast<JobState>(i));
  for (int i = 0; i < kIntents; ++i) EXPECT_EQ(IntentOf(Name(static_cast<Intent>(i))), static_cast<Intent>(i));
  EXPECT_FALSE(JobStateOf("Running").has_value());
  EXPECT_FALSE(IntentOf("").has_value());
}

TEST(JobStates, NothingMovesOnFromAnEndAndEveryStateCanReachOne) {
  for (int from = 0; from < kJobStates; ++from) {
    bool can_end = Ended(static_cast<JobState>(from));
    for (int to = 0; to < kJobStates; ++to) {
      const bool can = CanMove(static_cast<JobState>(from), static_cast<JobState>(to));
      EXPECT_FALSE(can && Ended(static_cast<JobState>(from)));
      EXPECT_FALSE(can && from == to);
      can_end |= can && Ended(static_cast<JobState>(to));
    }
    // A placed job can only end by way of others.
    EXPECT_TRUE(can_end || static_cast<JobState>(from) == JobState::kPlaced) << Name(static_cast<JobState>(from));
  }
}

}  // namespace
}  // namespace filigree::coordinator
