#ifndef FILIGREE_TESTS_WORKER_AGENT_TABLE_RIG_H_
#define FILIGREE_TESTS_WORKER_AGENT_TABLE_RIG_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "worker/agent/rank_table.h"

namespace filigree::agent {

inline constexpr int64_t kSecond = 1'000'000;

// A table with a clock that a test turns, and the orders that were given so far.
class TableRig {
 public:
  explicit TableRig(Patience patience = {})
      : table(
            "host", [this] { return fmt::format("p{}", ++names_); }, patience) {}

  static v1::Assignment Run(int64_t generation, const std::vector<int32_t>& ranks, int32_t data, bool keep = true,
                            v1::Backend backend = v1::BACKEND_GLOO) {
    v1::Assignment assignment;
    assignment.set_job("night-1");
    assignment.set_generation(generation);
    assignment.set_action(v1::ACTION_RUN);
    assignment.set_keep_processes(keep);
    for (const int32_t rank : ranks) assignment.add_ranks(rank);
    assignment.set_data(data);
    assignment.set_tensor(1);
    assignment.mutable_spec()->set_name("night");
    assignment.mutable_spec()->set_config("[run]\n");
    assignment.mutable_spec()->set_data(data);
    assignment.mutable_spec()->set_backend(backend);
    return assignment;
  }
  static v1::Assignment End(int64_t generation, v1::Action action, bool keep = true) {
    v1::Assignment assignment;
    assignment.set_job("night-1");
    assignment.set_generation(generation);
    assignment.set_action(action);
    assignment.set_keep_processes(keep);
    return assignment;
  }

  // A heartbeat is answered; what that orders.
  Orders Follow(const std::vector<v1::Assignment>& assignments) {
    v1::HeartbeatReply reply;
    for (const v1::Assignment& assignment : assignments) *reply.add_assignments() = assignment;
    table.Follow(now_us, reply);
    return table.TakeOrders();
  }
  // The same, and every started process takes its part and tells that it runs; their names, by rank.
  std::vector<std::string> Started(const v1::Assignment& assignment) {
    std::vector<std::string> names;
    for (const Start& start : Follow({assignment}).start) {
      names.push_back(start.process);
      EXPECT_TRUE(Take(start.process, 0).has_value());
      EXPECT_TRUE(Tell(start.process, assignment.generation()).ok());
    }
    return names;
  }

  std::optional<v1::TakeReply> Take(const std::string& process, int64_t after, const std::string& lost = "") {
    v1::TakeRequest request;
    request.set_process(process);
    request.set_after(after);
    request.set_lost(lost);
    const auto taken = table.Take(now_us, request);
    EXPECT_TRUE(taken.ok()) << taken.status();
    return taken.ok() ? *taken : std::nullopt;
  }
  absl::Status TakeStatus(const std::string& process, int64_t after) {
    v1::TakeRequest request;
    request.set_process(process);
    request.set_after(after);
    return table.Take(now_us, request).status();
  }
  absl::StatusOr<v1::TellReply> Tell(const std::string& process, int64_t generation,
                                     v1::RankState state = v1::RANK_STATE_RUNNING, const std::string& reason = "") {
    v1::TellRequest request;
    request.set_process(process);
    request.set_generation(generation);
    request.set_state(state);
    request.set_reason(reason);
    return table.Tell(now_us, request);
  }

  // Lets time pass, ten ticks a second.
  void Pass(int64_t us) {
    for (const int64_t end = now_us + us; now_us < end;) {
      now_us += 100'000;
      table.Tick(now_us);
    }
  }

  v1::RankReport Report(int32_t rank) {
    for (const v1::RankReport& report : table.Reports())
      if (report.rank() == rank) return report;
    ADD_FAILURE() << "nothing is reported of rank " << rank;
    return {};
  }
  v1::RankState State(int32_t rank) { return Report(rank).state(); }

  int64_t now_us = 1'000'000'000;

 private:
  int names_ = 0;

 public:
  RankTable table;
};

}  // namespace filigree::agent

#endif  // FILIGREE_TESTS_WORKER_AGENT_TABLE_RIG_H_
