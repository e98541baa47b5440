#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "coordinator/journal/journal.h"
#include "coordinator/journal/records.h"
#include "tests/coordinator/journal/sample_rows.h"

namespace filigree::coordinator {
namespace {

constexpr int64_t kFar = int64_t{1} << 62;

// Writes, and compares what this process knows and what the next one reads with tables that were never on a disk.
class RoundTrip : public ::testing::Test {
 protected:
  void Keep(const Changes& changes) {
    if (journal_ == nullptr) journal_ = Opened(path_);
    ASSERT_NE(journal_, nullptr);
    const absl::Status status = journal_->Write(changes);
    ASSERT_TRUE(status.ok()) << status;
    expected_.Apply(changes);
  }

  void ExpectSameAfterReopening() {
    EXPECT_TRUE(expected_.Check().ok()) << expected_.Check();
    ASSERT_NE(journal_, nullptr);
    EXPECT_EQ(Dump(journal_->tables()), Dump(expected_));
    journal_ = nullptr;
    journal_ = Opened(path_);
    ASSERT_NE(journal_, nullptr);
    EXPECT_EQ(Dump(journal_->tables()), Dump(expected_));
  }

  Folder folder_;
  const std::string path_ = folder_ / "journal.db";
  std::unique_ptr<Journal> journal_;
  Tables expected_;
};

TEST_F(RoundTrip, ANewJournalIsEmptyAndItsOwnersOnly) {
  journal_ = Opened(path_);
  ExpectSameAfterReopening();
  struct stat stat = {};
  ASSERT_EQ(::stat(path_.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 0777, 0600u);
}

TEST_F(RoundTrip, EpochsFollowEachOther) {
  for (const int64_t epoch : {int64_t{1}, int64_t{2}, kFar}) {
    Changes changes;
    changes.epoch = epoch;
    Keep(changes);
    ExpectSameAfterReopening();
  }
}

TEST_F(RoundTrip, WorkersInEveryPresenceAndAtTheirExtremes) {
  Changes changes;
  for (const Presence presence : {Presence::kLive, Presence::kLost, Presence::kLeft}) {
    WorkerRow row = SampleWorker("w" + std::to_string(static_cast<int>(presence)));
    row.presence = presence;
    row.draining = presence == Presence::kLost;
    changes.workers.push_back(row);
  }
  WorkerRow row = SampleWorker(std::string(64, 'z'), kFar);
  row.host = row.nonce = std::string(64, '.');
  row.slots = kMaxSlots;
  changes.workers.push_back(row);
  row = SampleWorker("-");
  row.slots = 1;
  changes.workers.push_back(row);
  Keep(changes);
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().workers().at(std::string(64, 'z')).incarnation, kFar);
}

TEST_F(RoundTrip, ARowReplacesTheOneWithItsKey) {
  Changes changes;
  changes.workers = {SampleWorker("a")};
  Keep(changes);
  changes.workers = {SampleWorker("a", 2)};
  changes.workers[0].presence = Presence::kLost;
  Keep(changes);
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().workers().size(), 1u);
  EXPECT_EQ(journal_->tables().workers().at("a").incarnation, 2);
}

TEST_F(RoundTrip, WhatIsForgottenIsGoneWithItsCommits) {
  Changes changes;
  changes.workers = {SampleWorker("a")};
  for (const int64_t number : {1, 2, 3}) {
    JobRow row = Running(SampleJob(number), changes.workers[0], 3);
    row.state = JobState::kDone;
    row.held = false;
    changes.jobs.push_back(row);
  }
  Keep(changes);
  for (const int64_t step : {10, 20}) {
    Changes commits;
    for (const JobRow& row : changes.jobs) commits.commits.push_back(SampleCommit(row, step));
    Keep(commits);
  }
  Changes forgets;
  forgets.forgotten = {changes.jobs[0].id, changes.jobs[1].id};
  Keep(forgets);
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().jobs().size(), 1u);
  EXPECT_EQ(journal_->tables().LastCommit(changes.jobs[0].id), nullptr);
  EXPECT_EQ(journal_->tables().LastCommit(changes.jobs[2].id)->point.step, 20);
}

TEST_F(RoundTrip, AJobInEveryStateAndIntent) {
  Changes changes;
  int64_t number = 0;
  for (int state = 0; state < kJobStates; ++state)
    for (int intent = 0; intent < kIntents; ++intent) {
      if ((static_cast<JobState>(state) == JobState::kDraining) != (intent > 0)) continue;
      changes.workers.push_back(SampleWorker("w" + std::to_string(++number)));
      JobRow row = Running(SampleJob(number), changes.workers.back(), 3);
      row.state = static_cast<JobState>(state);
      row.intent = static_cast<Intent>(intent);
      row.held = !Ended(row.state) && row.state != JobState::kSubmitted && row.state != JobState::kQueued;
      changes.jobs.push_back(row);
    }
  EXPECT_EQ(number, kJobStates - 1 + kIntents - 1);
  Keep(changes);
  ExpectSameAfterReopening();
}

TEST_F(RoundTrip, AJobAtItsExtremes) {
  Changes changes;
  std::vector<RankPlace> ranks;
  for (int i = 0; i < contract::kMaxRanks / kMaxSlots; ++i) {
    changes.workers.push_back(SampleWorker("worker" + std::to_string(i), kFar));
    changes.workers.back().slots = kMaxSlots;
    ranks.insert(ranks.end(), kMaxSlots, {changes.workers.back().name, kFar});
  }
  contract::JobSpec spec;
  spec.name = std::string(40, 'n');
  spec.config = std::string(contract::kMaxConfigBytes, '\x01');  // six bytes each in JSON
  spec.arguments.assign(contract::kMaxArguments, "--a=" + std::string(contract::kMaxArgumentBytes - 4, '"'));
  spec.data = contract::kMaxRanks;
  spec.priority = -contract::kMaxPriority;
  spec.idempotency_key = std::string(64, 'k');
  spec.backend = contract::Backend::kNccl;
  spec.restart_limit = contract::kMaxRestartLimit;
  spec.deadlines = {contract::kMaxDeadlineSeconds, contract::kMaxDeadlineSeconds, contract::kMaxDeadlineSeconds};
  JobRow row = SampleJob(kFar, spec.name);
  row.spec = std::make_shared<const contract::JobSpec>(spec);
  row = Running(row, changes.workers[0], kFar);
  row.ranks = ranks;
  row.rollback = true;
  row.reason = std::string(65536, '~');
  row.resume = CommitPoint{kFar, int64_t{1} << 53, std::string(64, 'f')};
  row.restarts = row.fruitless = 1 << 30;
  row.reached_step = kFar;
  row.submitted_us = -kFar;
  row.started_us = row.ended_us = kFar;
  changes.jobs = {row};
  changes.commits = {{row.id, *row.resume, -kFar}};
  Keep(changes);
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().jobs().begin()->second, row);
  EXPECT_EQ(journal_->tables().jobs().begin()->second.ranks.size(), static_cast<size_t>(contract::kMaxRanks));
}

TEST_F(RoundTrip, RanksOnManyWorkersKeepTheirOrder) {
  Changes changes;
  for (const char* name : {"a", "b", "c"}) changes.workers.push_back(SampleWorker(name, 9));
  JobRow row = Running(SampleJob(1), changes.workers[0], 1);
  row.data = 2;
  contract::JobSpec spec = *row.spec;
  spec.tensor = 4;
  row.spec = std::make_shared<const contract::JobSpec>(spec);
  row.ranks = {{"a", 9}, {"a", 9}, {"b", 9}, {"a", 9}, {"a", 8}, {"c", 1}, {"c", 1}, {"c", 1}};
  changes.jobs = {row};
  Keep(changes);
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().jobs().at("job-1").ranks, row.ranks);
}

TEST_F(RoundTrip, ASpecIsKeptOverMovesAndFollowsAChange) {
  const WorkerRow worker = SampleWorker("a");
  Changes changes;
  changes.workers = {worker};
  changes.jobs = {SampleJob(1)};
  Keep(changes);
  changes.jobs = {Running(changes.jobs[0], worker, 1)};
  Keep(changes);
  ExpectSameAfterReopening();
  contract::JobSpec other = *changes.jobs[0].spec;
  other.config = "[model]\n# UTF-8: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n";
  changes.jobs[0].spec = std::make_shared<const contract::JobSpec>(other);
  Keep(changes);
  ExpectSameAfterReopening();
}

TEST_F(RoundTrip, CommitsOfAJobAreAllKeptAndTheLastOneIsKnown) {
  const WorkerRow worker = SampleWorker("a");
  Changes changes;
  changes.workers = {worker};
  changes.jobs = {Running(SampleJob(1), worker, 2), Running(SampleJob(2), worker, 5)};
  Keep(changes);
  for (const int64_t step : {0, 100, 200}) {
    Changes commit;
    commit.commits = {SampleCommit(changes.jobs[0], step), SampleCommit(changes.jobs[1], step + 7)};
    Keep(commit);
  }
  ExpectSameAfterReopening();
  EXPECT_EQ(journal_->tables().LastCommit("job-1")->point.step, 200);
  EXPECT_EQ(journal_->tables().LastCommit("job-2")->point.step, 207);
}

TEST_F(RoundTrip, ARowThatCouldNotBeReadAgainIsNotWritten) {
  Changes good;
  good.workers = {SampleWorker("a")};
  Keep(good);
  Changes changes;
  changes.epoch = 7;
  changes.workers = {SampleWorker("b"), SampleWorker("no name")};
  EXPECT_TRUE(Says(journal_->Write(changes), absl::StatusCode::kInternal, "\"no name\" is no name"));
  changes.workers = {SampleWorker("b")};
  changes.workers[0].slots = 0;
  EXPECT_TRUE(Says(journal_->Write(changes), absl::StatusCode::kInternal, "slots: 0 is outside 1..4096"));
  changes.workers.clear();
  changes.jobs = {SampleJob(1)};
  changes.jobs[0].reason = "two\nlines";
  EXPECT_TRUE(Says(journal_->Write(changes), absl::StatusCode::kInternal, "reason: \"two?lines\""));
  changes.jobs = {SampleJob(1)};
  changes.jobs[0].spec = nullptr;
  EXPECT_TRUE(Says(journal_->Write(changes), absl::StatusCode::kInternal, "without a spec"));
  ExpectSameAfterReopening();
}

TEST(RanksText, IsReadAsItIsWrittenAndNothingElseIs) {
  const std::vector<RankPlace> ranks = {{"a", 1}, {"a", 1}, {"a", 2}, {"b", 1}, {"a", 1}};
  EXPECT_EQ(TextOfRanks(ranks), "a/1 x2, a/2, b/1, a/1");
  EXPECT_EQ(*RanksOf(TextOfRanks(ranks)), ranks);
  EXPECT_TRUE(RanksOf("")->empty());
  for (const char* text : {" ",
                           "a",
                           "a/",
                           "/1",
                           "a/0",
                           "a/-1",
                           "a/+1",
                           "a/01",
                           "a/1 x1",
                           "a/1 x0",
                           "a/1 x",
                           "a/1,b/1",
                           "a/1, ",
                           ", a/1",
                           "a/1, a/1",
                           "a/1 x65537",
                           "a/1 x65536, b/1",
                           "a b/1",
                           "a/1 x2 x2",
                           "a/9223372036854775808",
                           "a/1 x99999999999999999999"})
    EXPECT_EQ(RanksOf(text).status().code(), absl::StatusCode::kDataLoss) << text;
}

}  // namespace
}  // namespace filigree::coordinator
