#ifndef FILIGREE_TESTS_COORDINATOR_METRICS_CLUSTER_H_
#define FILIGREE_TESTS_COORDINATOR_METRICS_CLUSTER_H_

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "coordinator/core/core.h"
#include "coordinator/metrics/pages.h"

namespace filigree::coordinator {

// A core with one worker of four slots, which runs what it is told to.
class Cluster {
 public:
  Cluster() : core_(Options(), Tables(), now_) {
    Keep(core_.Start(now_)).status().IgnoreError();
    const auto reply = Keep(core_.Register(now_, {"w", "host", 4, "nonce", ""}));
    EXPECT_TRUE(reply.ok()) << reply.status();
    request_.speaker = {"w", reply->incarnation};
    request_.epoch = reply->epoch;
    EXPECT_TRUE(Beat().ok());
  }

  // Submits a job and has all its ranks run.
  std::string Run(int data, int tensor, int restart_limit = 3) {
    SubmitRequest submit;
    submit.spec.name = "train";
    submit.spec.data = data;
    submit.spec.tensor = tensor;
    submit.spec.min_data = data;
    submit.spec.restart_limit = restart_limit;
    const auto reply = Keep(core_.Submit(now_, submit));
    EXPECT_TRUE(reply.ok()) << reply.status();
    EXPECT_TRUE(Beat().ok());
    for (int rank = 0; rank < data * tensor; ++rank) {
      RankReport& report = request_.ranks.emplace_back();
      report.job = reply->job;
      report.generation = 1;
      report.rank = rank;
      report.state = RankState::kRunning;
    }
    EXPECT_TRUE(Beat().ok());
    return reply->job;
  }

  absl::Status Beat() {
    now_.monotonic_us += 1000;
    ++request_.sequence;
    return Keep(core_.Heartbeat(now_, request_)).status();
  }
  absl::Status Commit(const std::string& job, int64_t step) {
    now_.wall_us = 1'700'000'000'500'000;
    return Keep(core_.Commit(now_, {request_.speaker, job, {1, step, "0123456789abcdef"}})).status();
  }
  void Lose() {
    now_.monotonic_us += 60'000'000;
    Keep(core_.Tick(now_)).status().IgnoreError();
  }
  void NothingRuns() { request_.ranks.clear(); }
  void Pass(int64_t seconds) { now_.wall_us += seconds * 1'000'000; }
  RankReport& rank(int r) { return request_.ranks[static_cast<size_t>(r)]; }

  std::map<std::string, http::MakePage> AllPages() {
    return Pages({"1.0", "abc", "none", "none", "none"}, [this](const auto& look) {
      look(core_, now_);
      return true;
    });
  }
  std::string Get(const std::string& path) {
    const auto page = AllPages().at(path)();
    EXPECT_TRUE(page.ok()) << page.status();
    return page.ok() ? page->body : "";
  }
  testing::AssertionResult Has(const std::string& line) {
    const std::string text = Get("/metrics");
    if (text.find(std::string("\n").append(line).append("\n")) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << line << " is not in\n" << text;
  }

 private:
  template <typename Reply>
  absl::StatusOr<Reply> Keep(Decision<Reply> decision) {
    core_.Accept(decision.outcome);
    return std::move(decision.reply);
  }

  Now now_{77'000'000, 1'600'000'000'000'000};
  Core core_;
  HeartbeatRequest request_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_METRICS_CLUSTER_H_
