#include "coordinator/rpc/key_store.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace filigree::coordinator {
namespace {

// One job whose generation 2 runs on workers a and b.
class KeyStoreTest : public testing::Test {
 protected:
  KeyStoreTest() {
    Changes rows;
    for (const char* name : {"a", "b", "c"}) {
      WorkerRow worker;
      worker.name = name;
      worker.host = name;
      worker.slots = 1;
      worker.incarnation = 4;
      rows.workers.push_back(worker);
    }
    contract::JobSpec spec;
    spec.name = std::string("night");
    spec.data = 2;
    job_.id = std::string("night-1");
    job_.number = 1;
    job_.spec = std::make_shared<const contract::JobSpec>(spec);
    job_.state = JobState::kRunning;
    job_.generation = 2;
    job_.data = 2;
    job_.ranks = {{"a", 4}, {"b", 4}};
    job_.held = true;
    rows.jobs.push_back(job_);
    tables_.Apply(rows);
    limits_.generation_bytes = 100;
    limits_.store_bytes = 150;
    limits_.key_waiters = 2;
  }

  static GenerationKey Key(const std::string& key, const std::string& worker = "a", int64_t generation = 2,
                           int64_t incarnation = 4) {
    return {{worker, incarnation}, "night-1", generation, key};
  }
  absl::StatusCode Set(const GenerationKey& key, const std::string& value) {
    return store_.Set(tables_, {key, value}).code();
  }
  // The answer, where it has come.
  using Answered = std::shared_ptr<std::optional<absl::StatusOr<std::string>>>;
  Answered Get(const GenerationKey& key, int64_t wait_us, int64_t now_us = 0) {
    auto answered = std::make_shared<std::optional<absl::StatusOr<std::string>>>();
    store_.Get(tables_, {key, wait_us}, now_us, [answered](const absl::StatusOr<std::string>& value) {
      EXPECT_FALSE(answered->has_value());
      *answered = value;
    });
    return answered;
  }
  // What the job's row becomes.
  void Move(JobState state, int64_t generation, bool held) {
    job_.state = state;
    job_.generation = generation;
    job_.held = held;
    Changes rows;
    rows.jobs.push_back(job_);
    tables_.Apply(rows);
    store_.Follow(rows);
  }

  Limits limits_;
  Tables tables_;
  JobRow job_;
  KeyStore store_{limits_};
};

TEST_F(KeyStoreTest, OnlyRanksOfTheGenerationGetIn) {
  EXPECT_EQ(Set(Key("k", "a"), "v"), absl::StatusCode::kOk);
  EXPECT_EQ(Set(Key("k", "c"), "v"), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Set(Key("k", "d"), "v"), absl::StatusCode::kNotFound);
  EXPECT_EQ(Set(Key("k", "a", 1), "v"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Set(Key("k", "a", 3), "v"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Set(Key("k", "a", 2, 3), "v"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Get(Key("k", "c"), 0)->value().status().code(), absl::StatusCode::kPermissionDenied);
}

// The process that holds the ranks and the one that has the name now are two.
TEST_F(KeyStoreTest, ANameThatWasRegisteredAnewHasNoRankOfTheOldGeneration) {
  Changes rows;
  rows.workers.push_back(*tables_.FindWorker("a"));
  rows.workers[0].incarnation = 5;
  tables_.Apply(rows);
  EXPECT_EQ(Set(Key("k", "a", 2, 4), "v"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Set(Key("k", "a", 2, 5), "v"), absl::StatusCode::kPermissionDenied);
}

TEST_F(KeyStoreTest, WhoWaitsIsAnsweredOnce) {
  const Answered early = Get(Key("k", "b"), 1000), other = Get(Key("other", "b"), 1000);
  EXPECT_FALSE(early->has_value());
  ASSERT_EQ(Set(Key("k"), "v"), absl::StatusCode::kOk);
  EXPECT_EQ(early->value().value(), "v");
  store_.Expire(999);
  EXPECT_FALSE(other->has_value());
  store_.Expire(1000);
  EXPECT_EQ(other->value().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Get(Key("none"), 0)->value().status().code(), absl::StatusCode::kDeadlineExceeded);
  store_.Expire(5000);
}

TEST_F(KeyStoreTest, WaitersAreCounted) {
  const Answered first = Get(Key("x"), 1000), second = Get(Key("y"), 1000), third = Get(Key("z"), 1000);
  EXPECT_EQ(third->value().status().code(), absl::StatusCode::kResourceExhausted);
  store_.Expire(1000);
  EXPECT_TRUE(first->has_value() && second->has_value());
  EXPECT_FALSE(Get(Key("z"), 1000)->has_value());
}

TEST_F(KeyStoreTest, BytesAreBoundedAndGivenBack) {
  EXPECT_EQ(Set(Key("a"), std::string(60, 'x')), absl::StatusCode::kOk);
  EXPECT_EQ(Set(Key("b"), std::string(60, 'x')), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Set(Key("b"), std::string(38, 'x')), absl::StatusCode::kOk);
  EXPECT_EQ(store_.bytes(), 100u);
  Move(JobState::kRecovering, 2, true);
  EXPECT_EQ(store_.bytes(), 0u);
  EXPECT_EQ(store_.generations(), 0u);
}

TEST_F(KeyStoreTest, AGenerationTakesItsKeysAlong) {
  ASSERT_EQ(Set(Key("k"), "old"), absl::StatusCode::kOk);
  const Answered waiting = Get(Key("other"), 1000);
  Move(JobState::kRecovering, 2, true);
  EXPECT_EQ(waiting->value().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Set(Key("k"), "old"), absl::StatusCode::kFailedPrecondition);
  Move(JobState::kPlaced, 3, true);
  EXPECT_EQ(Get(Key("k", "a", 3), 0)->value().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Set(Key("k", "a", 3), "new"), absl::StatusCode::kOk);
}

TEST_F(KeyStoreTest, OneValueIsNotCopiedWithoutEnd) {
  limits_.key_waiters = 4;
  limits_.answer_bytes = 25;
  std::vector<Answered> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(Get(Key("k"), 1000));
  ASSERT_EQ(Set(Key("k"), std::string(10, 'x')), absl::StatusCode::kOk);
  EXPECT_TRUE(waiting[0]->value().ok());
  EXPECT_TRUE(waiting[1]->value().ok());
  EXPECT_EQ(waiting[2]->value().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Get(Key("k"), 1000)->value().ok());  // asked again
}

TEST_F(KeyStoreTest, CloseAnswersAll) {
  const Answered waiting = Get(Key("k"), 1000);
  store_.Close(absl::UnavailableError("stopping"));
  EXPECT_EQ(waiting->value().status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace filigree::coordinator
