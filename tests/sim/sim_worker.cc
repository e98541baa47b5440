#include "tests/sim/sim_worker.h"

#include <fmt/format.h>

#include <algorithm>

namespace filigree::sim {

using coordinator::Action;
using coordinator::Core;
using coordinator::Now;
using coordinator::RankState;

SimWorker::SimWorker(const Parts& parts, int node, const std::string& host, int32_t slots, uint64_t seed)
    : parts_(parts), dice_(seed), node_(node), name_(fmt::format("w{}", node)), host_(host), slots_(slots) {
  clock_rate_ = 1 + 1e-4 * static_cast<double>(dice_.Between(-200, 200));
  clock_offset_us_ = dice_.Between(0, 1'000'000'000);
}

int64_t SimWorker::Clock() const {
  return clock_offset_us_ + static_cast<int64_t>(static_cast<double>(parts_.loop.now_us()) * clock_rate_);
}

Work SimWorker::Alive(const Work& work) {
  return [this, process = process_, work] {
    if (!up_ || process != process_) return;
    if (paused_)
      waiting_.push_back(work);
    else
      work();
  };
}

void SimWorker::Start() {
  if (up_) return;
  up_ = true;
  paused_ = false;
  ++process_;
  nonce_ = fmt::format("{}.{}.0", name_, process_);
  replaces_.clear();
  registered_ = false;
  asked_at_ = 0;
  TickLater();
}

void SimWorker::Crash() {
  up_ = paused_ = registered_ = false;
  ranks_.clear();
  actions_.clear();
  started_.clear();
  waiting_.clear();
}

void SimWorker::Pause() { paused_ = up_; }

// It does not know that it was stopped: what it was about to write it writes, before it looks at any clock.
void SimWorker::Resume() {
  if (!up_ || !paused_) return;
  paused_ = false;
  for (auto& [key, ranks] : ranks_) {
    const auto run = parts_.runs.find(key);
    const bool writes = ranks.count(0) > 0 && coordinator::Alive(ranks[0].state);
    if (writes && run != parts_.runs.end() && !run->second.at_mask()) AskCommit(run->second);
  }
  std::deque<Work> waiting;
  waiting.swap(waiting_);
  for (const Work& work : waiting) work();
}

void SimWorker::TickLater() {
  parts_.loop.After(dice_.Between(150'000, 250'000), Alive([this] {
                      Tick();
                      TickLater();
                    }));
}

void SimWorker::Tick() {
  if (registered_ && !LeaseHolds()) GiveUp();
  const int64_t since = Clock() - asked_at_;
  if (!registered_) {
    if (since >= 500'000 || asked_at_ == 0) Register();
  } else if (since >= 1'000'000 || urgent_) {
    Heartbeat();
  }
}

void SimWorker::GiveUp() {
  ranks_.clear();
  actions_.clear();
  started_.clear();
  registered_ = false;
  replaces_ = nonce_;
  nonce_ = fmt::format("{}.{}.{}", name_, process_, parts_.loop.now_us());
}

void SimWorker::Register() {
  asked_at_ = Clock();
  coordinator::RegisterRequest request{name_, host_, slots_, nonce_, replaces_};
  const auto answered = [this, sent = asked_at_,
                         nonce = nonce_](const absl::StatusOr<coordinator::RegisterReply>& reply) {
    parts_.network.Send(0, node_, Alive([this, sent, nonce, reply] {
                          if (registered_ || nonce != nonce_) return;
                          if (!reply.ok()) {
                            // Its own old registration may have been replaced while the answer to it was lost.
                            if (reply.status().code() == absl::StatusCode::kFailedPrecondition) GiveUp();
                            return;
                          }
                          registered_ = true;
                          incarnation_ = reply->incarnation;
                          epoch_ = reply->epoch;
                          sequence_ = 0;
                          lease_until_ = sent + reply->lease_us;
                          urgent_ = true;
                        }));
  };
  parts_.network.Send(node_, 0, [this, request, answered] {
    parts_.coordinator.Serve<coordinator::RegisterReply>(
        [&](Core& core, Now now) { return core.Register(now, request); }, answered);
  });
}

void SimWorker::Heartbeat() {
  asked_at_ = Clock();
  urgent_ = false;
  coordinator::HeartbeatRequest request;
  request.speaker = {name_, incarnation_};
  request.epoch = epoch_;
  request.sequence = ++sequence_;
  for (const auto& [key, ranks] : ranks_)
    for (const auto& [rank, report] : ranks) {
      request.ranks.push_back(report);
      const auto run = parts_.runs.find(key);
      if (run != parts_.runs.end()) request.ranks.back().progress.step = run->second.step;
    }
  const auto answered = [this, sent = asked_at_, sequence = sequence_,
                         incarnation = incarnation_](const absl::StatusOr<coordinator::HeartbeatReply>& reply) {
    if (reply.ok()) parts_.judge.SawTaken(name_, incarnation);
    parts_.network.Send(0, node_, Alive([this, sent, sequence, incarnation, reply] {
                          if (incarnation == incarnation_) Heard(reply, sent, sequence);
                        }));
  };
  parts_.network.Send(node_, 0, [this, request, answered] {
    parts_.coordinator.Serve<coordinator::HeartbeatReply>(
        [&](Core& core, Now now) { return core.Heartbeat(now, request); }, answered);
  });
}

void SimWorker::Heard(const absl::StatusOr<coordinator::HeartbeatReply>& reply, int64_t sent, int64_t sequence) {
  if (!registered_ || sequence != sequence_) return;  // an answer to an earlier one, which is void by now
  if (!LeaseHolds()) return GiveUp();
  if (!reply.ok()) {
    const absl::StatusCode code = reply.status().code();
    if (code == absl::StatusCode::kFailedPrecondition || code == absl::StatusCode::kNotFound) GiveUp();
    return;
  }
  lease_until_ = std::max(lease_until_, sent + reply->lease_us);
  epoch_ = reply->epoch;
  if (reply->again)
    urgent_ = true;
  else
    Follow(*reply);
}

void SimWorker::Follow(const coordinator::HeartbeatReply& reply) {
  std::map<Key, std::map<int32_t, coordinator::RankReport>> kept;
  actions_.clear();
  for (const coordinator::Assignment& assignment : reply.assignments) {
    const Key key = {assignment.job, assignment.generation};
    actions_[key] = assignment.action;
    auto& ranks = kept[key] = ranks_[key];
    if (assignment.action != Action::kStop) continue;
    for (auto& [rank, report] : ranks)
      if (coordinator::Alive(report.state)) {
        if (rank == 0) CommitLate(key);
        report.state = RankState::kStopped;
        urgent_ = true;
      }
  }
  ranks_ = kept;
  for (const coordinator::Assignment& assignment : reply.assignments)
    if (assignment.action == Action::kRun && started_.insert({assignment.job, assignment.generation}).second)
      StartRanks(assignment);
}

void SimWorker::StartRanks(const coordinator::Assignment& assignment) {
  const Key key = {assignment.job, assignment.generation};
  GenerationRun& run = parts_.runs[key];
  if (run.count == 0) {
    run.job = assignment.job;
    run.generation = assignment.generation;
    run.count = assignment.data * assignment.tensor;
    run.step = assignment.resume ? assignment.resume->step : 0;
    run.first_step = run.step;
    run.committed = assignment.resume ? assignment.resume->step : -1;
    run.steps = 30;
    run.commit_every = 7;
    run.mask_every = 5;
  }
  for (const int32_t rank : assignment.ranks) {
    if (static_cast<int32_t>(assignment.ranks.size()) > slots_)
      parts_.judge.Violated(name_ + " is given more ranks than slots");
    parts_.judge.SawStart(assignment.job, assignment.generation, rank, assignment.resume);
    coordinator::RankReport& report = ranks_[key][rank];
    report.job = assignment.job;
    report.generation = assignment.generation;
    report.rank = rank;
    parts_.loop.After(dice_.Between(20'000, 400'000), Alive([this, key, rank] {
                        const auto found = ranks_.find(key);
                        if (found == ranks_.end() || found->second.count(rank) == 0) return;
                        coordinator::RankReport& starting = found->second[rank];
                        if (starting.state != RankState::kStarting) return;
                        starting.state = RankState::kRunning;
                        urgent_ = true;
                      }));
  }
}

void SimWorker::AddRunning(std::map<std::string, std::set<int64_t>>& running) const {
  if (!up_ || !LeaseHolds()) return;
  for (const auto& [key, ranks] : ranks_)
    for (const auto& [rank, report] : ranks)
      if (coordinator::Alive(report.state)) running[key.first].insert(key.second);
}

bool SimWorker::Works(const std::string& job, int64_t generation, int32_t rank) const {
  if (!up_ || paused_ || !LeaseHolds()) return false;
  const auto found = ranks_.find({job, generation});
  if (found == ranks_.end()) return false;
  const auto report = found->second.find(rank);
  return report != found->second.end() && report->second.state == RankState::kRunning;
}

bool SimWorker::IsLeaving(const std::string& job, int64_t generation) const {
  const auto found = actions_.find({job, generation});
  return found != actions_.end() && found->second == Action::kCheckpointAndStop;
}

void SimWorker::FailOneRank(Dice& dice) {
  if (!up_ || paused_) return;
  for (auto& [key, ranks] : ranks_)
    for (auto& [rank, report] : ranks)
      if (coordinator::Alive(report.state) && dice.Chance(0.5)) {
        report.state = RankState::kFailed;
        report.reason = "killed by signal 9";
        urgent_ = true;
        return;
      }
}

void SimWorker::AskCommit(GenerationRun& run) {
  const std::string digest = fmt::format("{:016x}", run.step * 1'000'003 + run.generation);
  const coordinator::CommitRequest request{{name_, incarnation_}, run.job, {run.generation, run.step, digest}};
  const Key key = {run.job, run.generation};
  const auto answered = [this, request, key](const absl::StatusOr<coordinator::Empty>& reply) {
    if (reply.ok()) parts_.judge.SawTaken(request.speaker.worker, request.speaker.incarnation);
    parts_.network.Send(0, node_, Alive([this, request, key, reply] {
                          if (!reply.ok()) return;
                          parts_.judge.SawCommitted(request.job, request.point);
                          GenerationRun& committed = parts_.runs[key];
                          committed.committed = std::max(committed.committed, request.point.step);
                        }));
  };
  parts_.network.Send(node_, 0, [this, request, answered] {
    parts_.coordinator.Serve<coordinator::Empty>([&](Core& core, Now now) { return core.Commit(now, request); },
                                                 answered);
  });
}

void SimWorker::ReportMasks(GenerationRun& run) {
  const auto found = ranks_.find({run.job, run.generation});
  if (found == ranks_.end()) return;
  for (auto& [rank, report] : found->second) {
    if (!coordinator::Alive(report.state) || run.agreed.count(rank) > 0) continue;
    const int64_t epoch = run.mask_epoch();
    const bool other = run.damaged && rank == run.damaged_rank;
    const auto digest = [&](int64_t update, bool differs) {
      return coordinator::Digests{{"weights", fmt::format("{:015x}{}", update, differs ? 'f' : '0')}};
    };
    const coordinator::MaskReportRequest request{
        {name_, incarnation_},
        run.job,
        run.generation,
        rank,
        epoch,
        run.first_mask() ? coordinator::Digests{} : digest(epoch - 1, other && run.tells_itself),
        digest(epoch, other)};
    report.mask_epoch = epoch;
    report.mask_digests = request.after;
    const Key key = {run.job, run.generation};
    const auto answered = [this, key, rank = rank, epoch](const absl::StatusOr<coordinator::MaskReportReply>& reply) {
      parts_.network.Send(0, node_, Alive([this, key, rank, epoch, reply] {
                            GenerationRun& reported = parts_.runs[key];
                            if (reply.ok() && reply->agreed && reported.mask_epoch() == epoch)
                              reported.agreed.insert(rank);
                          }));
    };
    parts_.network.Send(node_, 0, [this, request, answered] {
      parts_.coordinator.Serve<coordinator::MaskReportReply>(
          [&](Core& core, Now now) { return core.ReportMask(now, request); }, answered);
    });
  }
}

void SimWorker::Finish(const std::string& job, int64_t generation) {
  const auto found = ranks_.find({job, generation});
  if (found == ranks_.end()) return;
  for (auto& [rank, report] : found->second)
    if (report.state == RankState::kRunning) report.state = RankState::kFinished;
  urgent_ = true;
}

void SimWorker::StopRanks(const std::string& job, int64_t generation) {
  const auto found = ranks_.find({job, generation});
  if (found == ranks_.end()) return;
  for (auto& [rank, report] : found->second)
    if (coordinator::Alive(report.state)) report.state = RankState::kStopped;
  urgent_ = true;
}

// A save that was under way ends when its rank is stopped already, and the job may be at another generation.
void SimWorker::CommitLate(const Key& key) {
  if (dice_.Chance(0.5)) return;
  parts_.loop.After(dice_.Between(100'000, 3'000'000), Alive([this, key] {
                      const auto run = parts_.runs.find(key);
                      if (run != parts_.runs.end()) AskCommit(run->second);
                    }));
}

}  // namespace filigree::sim
