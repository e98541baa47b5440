#include "coordinator/rpc/log_store.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace filigree::coordinator {
namespace {

constexpr size_t kPart = 256;  // what a part takes beside its text

// Jobs night-1 and day-2: rank 0 on worker a, rank 1 on b, at generation 2.
class LogStoreTest : public testing::Test {
 protected:
  LogStoreTest() {
    Changes rows;
    for (const char* name : {"a", "b"}) {
      WorkerRow worker;
      worker.name = worker.host = std::string(name);
      worker.slots = 8;
      worker.incarnation = 4;
      rows.workers.push_back(worker);
    }
    tables_.Apply(rows);
    Move("night-1", 2, JobState::kRunning);
    Move("day-2", 2, JobState::kRunning);
  }

  void Move(const std::string& id, int64_t generation, JobState state, const char* first = "a",
            const char* second = "b") {
    contract::JobSpec spec;
    spec.name = id.substr(0, id.find('-'));
    spec.data = 2;
    JobRow job;
    job.id = id;
    job.number = id.back() - '0';
    job.spec = std::make_shared<const contract::JobSpec>(spec);
    job.state = state;
    job.generation = generation;
    job.data = 2;
    job.ranks = {{first, 4}, {second, 4}};
    Changes rows;
    rows.jobs.push_back(job);
    tables_.Apply(rows);
    store_.Follow(rows);
  }

  absl::StatusCode Send(const std::string& worker, int32_t rank, int64_t offset, const std::string& text,
                        int64_t generation = 2, const std::string& job = "night-1", int64_t incarnation = 4) {
    return store_.Take(tables_, {{worker, incarnation}, {{job, {generation, rank}, offset, text}}}).code();
  }

  // What is read, a part each: "rank@offset:text".
  std::vector<std::string> Read(const ReadLogQuery& query, size_t bytes = 1 << 20) {
    std::vector<std::string> told;
    LogStore::Position position = store_.Begin(query);
    for (;;) {
      const auto parts = store_.Read(query, position, bytes);
      if (parts.empty()) return told;
      for (const LogPart& part : parts)
        told.push_back(std::to_string(part.key.rank) + "@" + std::to_string(part.offset) + ":" + part.text);
    }
  }
  static ReadLogQuery All(const std::string& job = "night-1") { return {job, {}, {}, 0, false}; }

  Limits limits_;
  Tables tables_;
  LogStore store_{limits_};
};

using Told = std::vector<std::string>;

TEST_F(LogStoreTest, WhatArrivedIsReadInItsOrder) {
  EXPECT_EQ(Send("a", 0, 0, "one "), absl::StatusCode::kOk);
  EXPECT_EQ(Send("b", 1, 0, "two "), absl::StatusCode::kOk);
  EXPECT_EQ(Send("a", 0, 4, "three"), absl::StatusCode::kOk);
  const Told all = {"0@0:one ", "1@0:two ", "0@4:three"};
  EXPECT_EQ(Read(All()), all);
  EXPECT_EQ(Read(All(), 1), all);  // in as many portions as it takes
  ReadLogQuery one = All();
  one.rank = 1;
  EXPECT_EQ(Read(one), Told{"1@0:two "});
  one = All();
  one.generation = 1;
  EXPECT_EQ(Read(one), Told{});
  EXPECT_EQ(Read(All("day-2")), Told{});
}

TEST_F(LogStoreTest, RepetitionDoesNoHarmAndGapsStay) {
  Send("a", 0, 0, "abcdef");
  Send("a", 0, 0, "abcdef");
  Send("a", 0, 2, "cd");
  Send("a", 0, 4, "efgh");
  Send("a", 0, 20, "xy");
  Send("a", 0, 10, "late");  // lies before what is there
  EXPECT_EQ(Read(All()), (Told{"0@0:abcdef", "0@6:gh", "0@20:xy"}));
}

TEST_F(LogStoreTest, ATailIsTheEndOfEachLog) {
  Send("a", 0, 0, "abc");
  Send("b", 1, 0, "0123456789");
  Send("a", 0, 3, "def");
  ReadLogQuery tail = All();
  tail.tail_bytes = 4;
  EXPECT_EQ(Read(tail), (Told{"0@2:c", "1@6:6789", "0@3:def"}));
  tail.tail_bytes = 3;
  EXPECT_EQ(Read(tail), (Told{"1@7:789", "0@3:def"}));
}

TEST_F(LogStoreTest, OnlyWhoHasTheRankSendsItsLog) {
  EXPECT_EQ(Send("b", 0, 0, "x"), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("a", 2, 0, "x"), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("a", 0, 0, "x", 1), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("a", 0, 0, "x", 3), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("a", 0, 0, "x", 2, "none-1"), absl::StatusCode::kNotFound);
  EXPECT_EQ(Send("c", 0, 0, "x"), absl::StatusCode::kNotFound);
  EXPECT_EQ(Send("a", 0, 0, "x", 2, "night-1", 3), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.bytes(), 0u);
}

TEST_F(LogStoreTest, ARefusedPartDoesNotCostTheOthers) {
  SendLogQuery query;
  query.speaker = {"a", 4};
  for (const auto& [rank, text] : {std::pair(1, "no"), std::pair(0, "yes")})
    query.parts.push_back({"night-1", {2, rank}, 0, text});
  const absl::Status status = store_.Take(tables_, query);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(std::string(status.message()).find("rank 1 of job night-1"), std::string::npos) << status;
  EXPECT_EQ(Read(All()), Told{"0@0:yes"});
}

TEST_F(LogStoreTest, LastWordsOfAGenerationAreTakenWhileTheNextRuns) {
  Move("night-1", 3, JobState::kPlaced, "b", "a");
  EXPECT_EQ(Send("a", 0, 0, "why it died"), absl::StatusCode::kOk);
  EXPECT_EQ(Send("a", 0, 0, "no rank of it", 3), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("a", 1, 0, "new", 3), absl::StatusCode::kOk);
  Move("night-1", 4, JobState::kPlaced);
  EXPECT_EQ(Send("a", 0, 11, "too late"), absl::StatusCode::kPermissionDenied);
  Move("night-1", 4, JobState::kFailed);
  EXPECT_EQ(Send("a", 1, 3, "too late", 3), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Send("b", 1, 0, "of the last", 4), absl::StatusCode::kOk);  // whoever ended still says why
  EXPECT_EQ(Read(All()), (Told{"0@0:why it died", "1@0:new", "1@0:of the last"}));
}

TEST_F(LogStoreTest, ARankKeepsItsEnd) {
  limits_.log_rank_bytes = 2 * kPart + 10;
  Send("a", 0, 0, "0123456789");
  Send("a", 0, 10, "abc");
  EXPECT_EQ(Read(All()), Told{"0@10:abc"});
  Send("a", 0, 13, std::string(1000, 'x') + "end");
  EXPECT_EQ(store_.bytes(), limits_.log_rank_bytes);
  const Told told = Read(All());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0], "0@" + std::to_string(13 + 1003 - 266) + ":" + std::string(263, 'x') + "end");
}

TEST_F(LogStoreTest, OfAJobTheLongestLogGives) {
  limits_.log_job_bytes = 3 * kPart + 200;
  Send("b", 1, 0, "quiet");
  Send("a", 0, 0, std::string(150, 'x'));
  Send("a", 0, 150, std::string(150, 'y'));
  EXPECT_EQ(Read(All()), (Told{"1@0:quiet", "0@150:" + std::string(150, 'y')}));
  EXPECT_LE(store_.bytes(), limits_.log_job_bytes);
}

TEST_F(LogStoreTest, JobsThatHaveEndedGiveFirst) {
  Move("eve-3", 2, JobState::kRunning);
  limits_.log_store_bytes = 3 * kPart;
  Send("a", 0, 0, "x", 2, "night-1");
  Send("a", 0, 0, "x", 2, "day-2");
  Move("day-2", 2, JobState::kFailed);
  EXPECT_EQ(Read(All("day-2")), Told{"0@0:x"});  // it is there to be asked for
  Send("a", 0, 0, "x", 2, "eve-3");
  EXPECT_EQ(Read(All("day-2")), Told{});
  EXPECT_EQ(Read(All("night-1")), Told{"0@0:x"});  // though it was silent for longer
  EXPECT_EQ(store_.bytes(), 2 * kPart + 2);
}

TEST_F(LogStoreTest, WhereAllRunTheOneGivesThatWasSilentLongest) {
  limits_.log_store_bytes = 3 * kPart;
  Send("a", 0, 0, "x", 2, "night-1");
  Send("a", 0, 0, "x", 2, "day-2");
  Send("a", 0, 1, "x", 2, "day-2");
  EXPECT_EQ(Read(All()), Told{});
  EXPECT_EQ(Read(All("day-2")).size(), 2u);
}

TEST_F(LogStoreTest, ReadingGoesOnWhereItStopped) {
  Send("a", 0, 0, "abc");
  LogStore::Position position = store_.Begin(All());
  EXPECT_EQ(store_.Read(All(), position, 1000).size(), 1u);
  EXPECT_EQ(store_.Read(All(), position, 1000).size(), 0u);
  Send("a", 0, 3, "def");
  const auto parts = store_.Read(All(), position, 1000);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].text, "def");
}

}  // namespace
}  // namespace filigree::coordinator
