#include "worker/agent/rank_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/ids.h"
#include "proto/rpc/job_spec.h"
#include "worker/agent/ending_text.h"

// What the coordinator assigns, and which processes that makes.

namespace filigree::agent {
namespace {

constexpr int kMostRanksHere = 4096;

// A coordinator is trusted to decide, and what it sends is still looked at: names become names of files.
absl::Status CheckAssignment(const v1::Assignment& told) {
  if (absl::Status status = contract::CheckId("job of an assignment", told.job()); !status.ok()) return status;
  if (told.generation() < 1)
    return absl::InvalidArgumentError(fmt::format("assignment of {}: generation {}", told.job(), told.generation()));
  if (told.action() != v1::ACTION_RUN) {
    const bool known = told.action() == v1::ACTION_STOP || told.action() == v1::ACTION_CHECKPOINT_AND_STOP;
    return known ? absl::OkStatus()
                 : absl::InvalidArgumentError(fmt::format("assignment of {}: action {} is not known here", told.job(),
                                                          static_cast<int>(told.action())));
  }
  const int64_t size = int64_t{told.data()} * told.tensor();
  if (told.data() < 1 || told.tensor() < 1 || size > contract::kMaxRanks)
    return absl::InvalidArgumentError(
        fmt::format("assignment of {}: a grid of {} x {}", told.job(), told.data(), told.tensor()));
  if (told.ranks().empty() || told.ranks_size() > kMostRanksHere)
    return absl::InvalidArgumentError(fmt::format("assignment of {}: {} ranks", told.job(), told.ranks_size()));
  for (int i = 0; i < told.ranks_size(); ++i)
    if (told.ranks(i) < 0 || told.ranks(i) >= size || (i > 0 && told.ranks(i) <= told.ranks(i - 1)))
      return absl::InvalidArgumentError(
          fmt::format("assignment of {}: rank {} is outside the grid or out of order", told.job(), told.ranks(i)));
  return absl::OkStatus();
}

v1::Directive DirectiveOf(v1::Action action) {
  return action == v1::ACTION_CHECKPOINT_AND_STOP ? v1::DIRECTIVE_CHECKPOINT : v1::DIRECTIVE_LEAVE;
}

// Why so many ranks of a generation cannot be started here; empty: they can.
std::string CannotRun(const contract::JobSpec* spec, int32_t size, size_t here) {
  if (spec == nullptr) return "the coordinator did not say what to run";
  switch (spec->backend) {
    case contract::Backend::kGloo:
      return "";
    case contract::Backend::kLocal:
      if (size == 1) return "";
      return fmt::format("backend local is one process, and the grid has {} ranks; submit it with --backend gloo",
                         size);
    case contract::Backend::kMpi:
      if (here == static_cast<size_t>(size)) return "";
      return fmt::format(
          "backend mpi is started by one mpirun, and only {} of {} ranks are placed on this worker; submit it with "
          "--backend gloo, or run it by hand: mpirun -n {} filigree train",
          here, size, size);
    case contract::Backend::kNccl:
      return "backend nccl needs GPUs, which this program does not use; submit it with --backend gloo";
  }
  return "its backend is not known here";
}

}  // namespace

std::string Text(const RankId& id) { return fmt::format("{} generation {} rank {}", id.job, id.generation, id.rank); }

RankTable::RankTable(std::string host, std::function<std::string()> name, Patience patience)
    : host_(std::move(host)), name_(std::move(name)), patience_(patience) {}

std::vector<v1::RankReport> RankTable::Reports() const {
  std::vector<v1::RankReport> reports;
  for (const auto& [id, job] : jobs_) {
    if (!job.placement) continue;
    for (const auto& [number, rank] : job.placement->ranks) reports.push_back(rank.report);
  }
  return reports;
}

void RankTable::Follow(int64_t now_us, const v1::HeartbeatReply& reply) {
  for (auto& [id, job] : jobs_)
    if (job.placement) job.placement->told = false;
  for (const v1::Assignment& assignment : reply.assignments()) FollowOne(now_us, assignment);
  for (auto& [id, job] : jobs_) {
    if (job.placement && !job.placement->told) Drop(now_us, job);
    if (!job.placement && !HasProcessOf(id)) job.spec = nullptr;
  }
}

void RankTable::FollowOne(int64_t now_us, const v1::Assignment& assignment) {
  if (const absl::Status status = CheckAssignment(assignment); !status.ok()) {
    orders_.say.push_back(fmt::format("not followed: {}", std::string(status.message())));
    return;
  }
  Job& job = jobs_[assignment.job()];
  job.told_us = now_us;
  job.keeps = assignment.keep_processes();
  if (job.placement && job.placement->generation == assignment.generation()) {
    job.placement->told = true;
  } else if (assignment.generation() > job.seen) {
    Begin(now_us, job, assignment);
  }
  const bool current = job.placement && job.placement->generation == assignment.generation();
  if (current && assignment.action() != v1::ACTION_RUN)
    Direct(now_us, job, DirectiveOf(assignment.action()), assignment.keep_processes());
}

// A generation that was not heard of before; the one before it is over.
void RankTable::Begin(int64_t now_us, Job& job, const v1::Assignment& assignment) {
  job.seen = assignment.generation();
  if (job.placement) Drop(now_us, job);
  if (assignment.action() != v1::ACTION_RUN || draining_) return;
  if (assignment.has_spec()) {
    absl::StatusOr<contract::JobSpec> spec = rpc::FromWire(assignment.spec());
    if (spec.ok())
      job.spec = std::make_shared<const contract::JobSpec>(*std::move(spec));
    else
      orders_.say.push_back(fmt::format("{}: {}", assignment.job(), std::string(spec.status().message())));
  }
  Placement placement;
  placement.generation = assignment.generation();
  placement.data = assignment.data();
  placement.tensor = assignment.tensor();
  placement.rollback = assignment.rollback();
  if (assignment.has_resume()) placement.resume = assignment.resume();
  placement.keep = assignment.keep_processes();
  placement.told = true;
  for (const int32_t number : assignment.ranks()) {
    v1::RankReport& report = placement.ranks[number].report;
    report.set_job(assignment.job());
    report.set_generation(assignment.generation());
    report.set_rank(number);
    report.set_state(v1::RANK_STATE_STARTING);
  }
  job.placement = std::move(placement);
  StartIfAlone(now_us, assignment.job(), job);
}

void RankTable::Direct(int64_t now_us, Job& job, v1::Directive directive, bool keep) {
  Placement& placement = *job.placement;
  placement.keep = keep;
  if (directive <= placement.directive) return;
  placement.directive = directive;
  placement.directive_us = now_us;
  for (auto& [name, process] : processes_)
    if (PlacementOf(process) == &placement && !process.killed) DirectProcess(now_us, name, process, placement);
  for (auto& [number, rank] : placement.ranks) {
    if (rank.ended || !rank.process.empty()) continue;
    rank.ended = true;  // never started
    rank.report.set_state(v1::RANK_STATE_STOPPED);
  }
  placement.started = true;
}

void RankTable::DirectProcess(int64_t now_us, const std::string& name, Process& process, const Placement& placement) {
  const bool outside = process.left == process.generation || !process.taken;
  if (outside && placement.keep && process.launcher.empty()) {
    Settle(process, v1::RANK_STATE_STOPPED, "");
    Idle(now_us, name, process);
  } else if (outside || (!placement.keep && placement.directive == v1::DIRECTIVE_LEAVE)) {
    Kill(name, process, "");
  }
}

// The generation is over: what is still in it has no time left.
void RankTable::Drop(int64_t now_us, Job& job) {
  for (auto& [name, process] : processes_) {
    if (PlacementOf(process) != &*job.placement) continue;
    if (process.left == process.generation && process.launcher.empty())
      Idle(now_us, name, process);
    else
      Kill(name, process, "its generation is over");
  }
  job.placement.reset();
}

// Never are two generations of a job here at once, not even where the coordinator thought that the first was gone.
void RankTable::StartIfAlone(int64_t now_us, const std::string& id, Job& job) {
  if (!job.placement || job.placement->started) return;
  Placement& placement = *job.placement;
  for (const auto& [name, process] : processes_)
    if (process.job == id && process.generation != 0) return;
  placement.started = true;
  const std::string why = CannotRun(job.spec.get(), placement.data * placement.tensor, placement.ranks.size());
  if (!why.empty()) return Refuse(placement, why);
  std::vector<int32_t> missing = GiveToIdle(now_us, id, placement);
  if (contract::KeepsProcesses(job.spec->backend)) {
    for (const int32_t rank : missing) StartNew(id, job, {rank});
  } else {
    StartNew(id, job, std::move(missing));
  }
}

void RankTable::Refuse(Placement& placement, const std::string& why) {
  for (auto& [number, rank] : placement.ranks) {
    rank.ended = true;
    rank.report.set_state(v1::RANK_STATE_FAILED);
    rank.report.set_reason(ReasonText(fmt::format("host {}: {}", host_, why), ""));
  }
  const v1::RankReport& first = placement.ranks.begin()->second.report;
  orders_.say.push_back(fmt::format("{}: not started: {}", Text({first.job(), first.generation(), first.rank()}), why));
  orders_.heartbeat = true;
}

// Ranks go to processes that wait for one, to those that had the same number first; the others are told to end. The
// ranks that are left over.
std::vector<int32_t> RankTable::GiveToIdle(int64_t now_us, const std::string& id, Placement& placement) {
  std::vector<std::string> idle;
  for (const auto& [name, process] : processes_)
    if (process.job == id && !process.killed && process.over_us < 0) idle.push_back(name);
  std::vector<int32_t> missing;
  const auto give = [&](const std::string& name, int32_t rank) {
    Process& process = processes_[name];
    Give(name, process, placement, rank);
    orders_.answer.push_back(name);
    orders_.say.push_back(fmt::format("{}: goes on in process {:.8}", Text(process.part), name));
  };
  for (const auto& [number, rank] : placement.ranks) {
    const auto same = std::find_if(idle.begin(), idle.end(), [&, wanted = number](const std::string& name) {
      return processes_[name].part.rank == wanted;
    });
    if (same == idle.end()) {
      missing.push_back(number);
      continue;
    }
    give(*same, number);
    idle.erase(same);
  }
  while (!idle.empty() && !missing.empty()) {
    give(idle.front(), missing.front());
    idle.erase(idle.begin());
    missing.erase(missing.begin());
  }
  for (const std::string& name : idle) EndIdle(now_us, name, processes_[name]);
  return missing;
}

void RankTable::Give(const std::string& name, Process& process, Placement& placement, int32_t rank) {
  process.generation = placement.generation;
  process.part = {process.job, placement.generation, rank};
  process.taken = false;
  process.idle_us = -1;
  placement.ranks[rank].process = name;
}

void RankTable::StartNew(const std::string& id, Job& job, std::vector<int32_t> ranks) {
  Placement& placement = *job.placement;
  const std::string name = name_();
  const bool launched = job.spec->backend == contract::Backend::kMpi;
  for (const int32_t rank : ranks) {
    const std::string own = launched ? fmt::format("{}.{}", name, rank) : name;
    Process& process = processes_[own];
    process.job = id;
    if (launched) process.launcher = name;
    Give(own, process, placement, rank);
  }
  orders_.start.push_back(
      {name, id, placement.generation, std::move(ranks), placement.data, placement.tensor, job.spec});
}

void RankTable::GiveUp(int64_t now_us, const std::string& why) {
  for (auto& [id, job] : jobs_) {
    if (job.placement) Drop(now_us, job);
    job.keeps = false;
  }
  for (auto& [name, process] : processes_) Kill(name, process, why);
}

void RankTable::Drain(int64_t now_us) {
  draining_ = true;
  for (auto& [id, job] : jobs_) {
    job.keeps = false;
    if (job.placement) Direct(now_us, job, v1::DIRECTIVE_CHECKPOINT, false);
  }
}

Orders RankTable::TakeOrders() { return std::exchange(orders_, {}); }

bool RankTable::HasProcessOf(const std::string& job) const {
  return std::any_of(processes_.begin(), processes_.end(), [&](const auto& item) { return item.second.job == job; });
}

bool RankTable::IsPlaced(const std::string& job, int64_t generation) const {
  const auto found = jobs_.find(job);
  return found != jobs_.end() && found->second.placement && found->second.placement->generation == generation;
}

bool RankTable::IsWanted(const std::string& process) const {
  const std::vector<std::string> names = StartedAs(process);
  return !names.empty() && !processes_.at(names.front()).killed;
}

std::vector<RankId> RankTable::RanksOf(const std::string& process) const {
  const std::vector<std::string> names = StartedAs(process);
  std::vector<RankId> ranks;
  ranks.reserve(names.size());
  for (const std::string& name : names) ranks.push_back(processes_.at(name).part);
  return ranks;
}

}  // namespace filigree::agent
