#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/client/json.h"
#include "worker/client/lines.h"
#include "worker/client/names.h"
#include "worker/client/tables.h"

// What a user sees of a job.

namespace filigree::client {
namespace {

constexpr double kNow = 1'800'000'000;

v1::Job Running() {
  v1::Job job;
  job.set_id("night-1");
  job.set_number(1);
  job.mutable_spec()->set_name("night");
  job.mutable_spec()->set_data(4);
  job.mutable_spec()->set_tensor(2);
  job.mutable_spec()->set_config("[run]\ndir = \"r\"\nsteps = 1000\n[data]\ndir = \"d\"\n");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_reason("all 6 ranks run");
  job.set_generation(2);
  job.set_data(3);
  job.set_restarts(1);
  job.set_submitted_us(static_cast<int64_t>((kNow - 100) * 1e6));
  job.set_started_us(static_cast<int64_t>((kNow - 90) * 1e6));
  job.mutable_last_commit()->set_step(200);
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(250);
  progress.set_ranks(6);
  progress.set_ranks_running(6);
  progress.set_step_seconds(0.4);
  progress.mutable_phases()->set_forward(0.1);
  progress.mutable_phases()->set_exchange(0.3);
  v1::SlowRank& slow = *progress.add_slow();
  slow.set_rank(3);
  slow.set_worker("b");
  slow.set_ratio(2.4);
  slow.set_phase(v1::PHASE_DATA);
  slow.set_seconds(0.061);
  slow.set_median_seconds(0.012);
  v1::RankView& rank = *job.add_ranks();
  rank.set_worker("a");
  rank.set_state(v1::RANK_STATE_RUNNING);
  rank.set_step(250);
  return job;
}

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Views, AJobIsOneLineOfATable) {
  const std::string table = JobTable({Running()}, kNow);
  EXPECT_TRUE(
      Has(table, "night-1  running  3x2 of 4x2  2           250   400.0    1         1m 30s  all 6 ranks run\n"))
      << table;
}

TEST(Views, WhatAnEndedJobTookDoesNotGrow) {
  v1::Job job = Running();
  job.set_state(v1::JOB_STATE_DONE);
  job.set_ended_us(static_cast<int64_t>((kNow - 60) * 1e6));
  EXPECT_TRUE(Has(JobTable({job}, kNow), "30s")) << JobTable({job}, kNow);
}

TEST(Views, DetailsSayWhereTheTimeGoesAndWhoIsSlow) {
  const std::string text = JobDetails(Running(), kNow);
  EXPECT_TRUE(Has(text, "step 250 of 1000  400.0 ms/step  6 of 6 ranks run  eta 5m 00s")) << text;
  EXPECT_TRUE(Has(text, "rank 3 on b: 2.4 times the median, mostly in data: 61 ms a step against 12 ms")) << text;
  EXPECT_TRUE(Has(text, "exchange    300.00     75.0%")) << text;
  EXPECT_TRUE(Has(text, "last checkpoint: step 200")) << text;
}

TEST(Views, TimeLeftIsNotGuessed) {
  v1::Progress progress;
  EXPECT_LT(SecondsLeft(progress, 1000), 0);
  progress.set_step_seconds(0.5);
  EXPECT_LT(SecondsLeft(progress, 0), 0);
  EXPECT_DOUBLE_EQ(SecondsLeft(progress, 1000), 500);
  progress.set_step(2000);
  EXPECT_LT(SecondsLeft(progress, 1000), 0);
}

TEST(Views, TextOfOthersMovesNoCursor) {
  v1::Job job = Running();
  job.set_reason("\x1b[2Jgone\x07");
  job.mutable_ranks(0)->set_reason("\x1b[31m");
  v1::Event event;
  event.set_text("\x1b[2J");
  for (const std::string& text : {JobTable({job}, kNow), JobDetails(job, kNow), EventLine(event)})
    EXPECT_FALSE(Has(text, "\x1b")) << text;
  EXPECT_FALSE(Has(LineOf(JsonOf(job)), "\x1b"));
}

TEST(Views, JsonHasNumbersAndWords) {
  const auto json = JsonOf(Running());
  EXPECT_EQ(json["state"], "running");
  EXPECT_EQ(json["target_steps"], 1000);
  EXPECT_EQ(json["progress"]["slow"][0]["phase"], "data");
  EXPECT_EQ(json["submitted_us"].get<int64_t>(), static_cast<int64_t>((kNow - 100) * 1e6));
  EXPECT_EQ(json["last_commit"]["step"], 200);
  v1::Job bytes;
  bytes.set_reason("\xff");
  EXPECT_FALSE(LineOf(JsonOf(bytes)).empty());  // no exception
}

TEST(Views, EventsNameWhatHappened) {
  v1::Event event;
  event.set_job("night-1");
  event.set_kind(v1::EVENT_KIND_JOB_MOVED);
  event.set_from(v1::JOB_STATE_PLACED);
  event.set_to(v1::JOB_STATE_RUNNING);
  event.set_text("all ranks run");
  EXPECT_TRUE(Has(EventLine(event), "  night-1  running: all ranks run"));
  event.set_kind(v1::EVENT_KIND_WORKER_LOST);
  event.clear_job();
  event.set_worker("b");
  EXPECT_TRUE(Has(EventLine(event), "  b  worker lost: "));
}

TEST(Views, NamesOfANewerCoordinatorAreUnknown) {
  EXPECT_EQ(NameOf(v1::JOB_STATE_RECOVERING), "recovering");
  EXPECT_EQ(NameOf(v1::RANK_STATE_UNSPECIFIED), "unknown");
  EXPECT_EQ(NameOf(static_cast<v1::JobState>(99)), "unknown");
}

}  // namespace
}  // namespace filigree::client
