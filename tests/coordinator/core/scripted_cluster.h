#ifndef FILIGREE_TESTS_COORDINATOR_CORE_SCRIPTED_CLUSTER_H_
#define FILIGREE_TESTS_COORDINATOR_CORE_SCRIPTED_CLUSTER_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/core.h"

namespace filigree::coordinator {

inline constexpr int64_t kMs = 1000;
inline constexpr char kDigest[] = "0123456789abcdef";

inline contract::JobSpec Spec(const std::string& name, int32_t data = 1, int32_t tensor = 1, int32_t min_data = 1) {
  contract::JobSpec spec;
  spec.name = name;
  spec.data = data;
  spec.tensor = tensor;
  spec.min_data = min_data;
  return spec;
}

// A core, the rows it handed out, and workers that do as they are told: a test moves the clock and decides who speaks.
// After every decision the rows kept beside the core must say what the core's own tables say.
class ScriptedCluster {
 public:
  struct Worker {
    std::string nonce;
    int64_t incarnation = 0, epoch = 0, sequence = 0;
    bool leaving = false;
    HeartbeatReply last;
    std::map<std::pair<std::string, int64_t>, std::map<int32_t, RankReport>> ranks;  // by job and generation
  };

  explicit ScriptedCluster(Options options = {}) : options_(options) { Boot(Tables()); }

  // The process is gone; another one reads the rows.
  void RestartCoordinator() { Boot(kept_); }

  void set_options(const Options& options) { options_ = options; }  // of the next process

  Core& core() { return *core_; }
  Now now() const { return now_; }
  void Pass(int64_t us) {
    now_.monotonic_us += us;
    now_.wall_us += us;
  }
  const JobRow& Job(const std::string& id) { return *core_->tables().FindJob(id); }
  JobState State(const std::string& id) { return Job(id).state; }
  Worker& worker(const std::string& name) { return workers_[name]; }
  std::vector<Event> events;  // all so far

  template <typename Reply>
  absl::StatusOr<Reply> Keep(Decision<Reply> decision) {
    if (disk_full && !decision.outcome.rows.empty()) {
      core_->Drop(decision.outcome);
      return absl::UnavailableError("disk full");
    }
    kept_.Apply(decision.outcome.rows);
    core_->Accept(decision.outcome);
    EXPECT_EQ(Dump(kept_), Dump(core_->tables()));
    EXPECT_TRUE(kept_.Check().ok()) << kept_.Check();
    events.insert(events.end(), decision.outcome.events.begin(), decision.outcome.events.end());
    return std::move(decision.reply);
  }

  // Registers a process that has said nothing yet; one of that name that is there without a word is the same process.
  absl::Status Register(const std::string& name, int32_t slots, const std::string& host = "") {
    const bool repeats = workers_.count(name) > 0 && workers_[name].sequence == 0;
    RegisterRequest request;
    request.name = name;
    request.host = host.empty() ? name : host;
    request.slots = slots;
    request.nonce = repeats ? workers_[name].nonce : fmt::format("n{}", ++nonces_);
    const auto reply = Keep(core_->Register(now_, request));
    if (!reply.ok()) return reply.status();
    workers_[name] = Worker();
    workers_[name].nonce = request.nonce;
    workers_[name].incarnation = reply->incarnation;
    workers_[name].epoch = reply->epoch;
    return absl::OkStatus();
  }

  // Registers and heartbeats once.
  void Join(const std::string& name, int32_t slots, const std::string& host = "") {
    const absl::Status registered = Register(name, slots, host);
    ASSERT_TRUE(registered.ok()) << registered;
    ASSERT_TRUE(Beat(name).ok());
  }

  // One heartbeat; assignments are followed: ranks run as soon as they are told to, and are gone as soon as not.
  absl::StatusOr<HeartbeatReply> Beat(const std::string& name) {
    Worker& worker = workers_[name];
    HeartbeatRequest request;
    request.speaker = {name, worker.incarnation};
    request.epoch = worker.epoch;
    request.sequence = ++worker.sequence;
    request.leaving = worker.leaving;
    for (const auto& [generation, ranks] : worker.ranks)
      for (const auto& [rank, report] : ranks) request.ranks.push_back(report);
    auto reply = Keep(core_->Heartbeat(now_, request));
    if (!reply.ok()) return reply;
    worker.epoch = reply->epoch;
    if (reply->again) return Beat(name);
    Follow(worker, *reply);
    worker.last = *reply;
    return reply;
  }

  void BeatAll(int times = 1) {
    for (; times > 0; --times)
      for (auto& [name, worker] : workers_)
        if (core_->tables().FindWorker(name)->presence == Presence::kLive) {
          EXPECT_TRUE(Beat(name).ok()) << name;
        }
  }

  // Everybody beats every second, and time is looked at.
  void Live(int64_t us) {
    for (const int64_t end = now_.monotonic_us + us; now_.monotonic_us < end;) {
      Pass(500 * kMs);
      BeatAll();
      EXPECT_TRUE(Keep(core_->Tick(now_)).ok());
    }
  }

  std::string Submit(const contract::JobSpec& spec) {
    const auto reply = Keep(core_->Submit(now_, {spec}));
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? reply->job : "";
  }

  // Submits and beats until all ranks run.
  std::string Run(const contract::JobSpec& spec) {
    std::string job = Submit(spec);
    BeatAll(2);
    EXPECT_EQ(State(job), JobState::kRunning) << Job(job).reason;
    return job;
  }

  RankReport& Rank(const std::string& job, int32_t rank) {
    const JobRow& row = Job(job);
    return workers_[row.ranks[rank].worker].ranks[{job, row.generation}][rank];
  }

  Speaker SpeakerOf(const std::string& name) { return {name, workers_[name].incarnation}; }

  absl::Status Commit(const std::string& job, int64_t step, int64_t generation = 0, const std::string& worker = "") {
    const JobRow& row = Job(job);
    const std::string writer = worker.empty() ? row.ranks[0].worker : worker;
    CommitRequest request{SpeakerOf(writer), job, {generation == 0 ? row.generation : generation, step, kDigest}};
    return Keep(core_->Commit(now_, request)).status();
  }

  bool disk_full = false;
  bool follow_checkpoints = true;  // whether workers end ranks that are to checkpoint and stop

 private:
  void Boot(const Tables& tables) {
    EXPECT_TRUE(tables.Check().ok()) << tables.Check();
    core_ = std::make_unique<Core>(options_, tables, now_);
    EXPECT_TRUE(Keep(core_->Start(now_)).ok());
  }

  void Follow(Worker& worker, const HeartbeatReply& reply) {
    std::map<std::pair<std::string, int64_t>, std::map<int32_t, RankReport>> kept;
    for (const Assignment& assignment : reply.assignments) {
      const std::pair<std::string, int64_t> key = {assignment.job, assignment.generation};
      auto& ranks = kept[key] = worker.ranks[key];
      if (assignment.action == Action::kStop || (assignment.action == Action::kCheckpointAndStop && follow_checkpoints))
        for (auto& [rank, report] : ranks)
          if (Alive(report.state)) report.state = RankState::kStopped;
      if (assignment.action != Action::kRun) continue;
      for (const int32_t rank : assignment.ranks) {
        if (ranks.count(rank) > 0) continue;
        RankReport& report = ranks[rank];
        report.job = assignment.job;
        report.generation = assignment.generation;
        report.rank = rank;
        report.state = RankState::kRunning;
      }
    }
    worker.ranks = kept;
  }

  Options options_;
  Now now_{77'000'000, 1'700'000'000'000'000};
  Tables kept_;
  std::unique_ptr<Core> core_;
  std::map<std::string, Worker> workers_;
  int nonces_ = 0;
};

inline bool Says(const absl::Status& status, absl::StatusCode code, const std::string& part) {
  return status.code() == code && std::string(status.message()).find(part) != std::string::npos;
}

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_CORE_SCRIPTED_CLUSTER_H_
