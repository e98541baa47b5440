#include "coordinator/rpc/views.h"

#include <algorithm>
#include <vector>

#include "coordinator/core/stragglers.h"
#include "coordinator/core/turn.h"
#include "coordinator/rpc/to_wire.h"
#include "proto/rpc/job_spec.h"

namespace filigree::coordinator {
namespace {

constexpr int kMostSlow = 16, kMostReasons = 64;
constexpr size_t kMostReasonBytes = 500;

void FillHead(const Core& core, const JobRow& row, v1::Job& job) {
  job.set_id(row.id);
  job.set_number(row.number);
  job.set_state(ToWire(row.state));
  job.set_reason(row.reason);
  job.set_generation(row.generation);
  job.set_data(row.data);
  job.set_held(row.held);
  if (const CommitRow* commit = core.tables().LastCommit(row.id); commit != nullptr)
    *job.mutable_last_commit() = ToWire(commit->point);
  job.set_restarts(row.restarts);
  job.set_fruitless(row.fruitless);
  job.set_submitted_us(row.submitted_us);
  job.set_started_us(row.started_us);
  job.set_ended_us(row.ended_us);
}

void FillRanks(const JobRow& row, const JobMemory* memory, v1::Job& job) {
  int reasons = 0;
  for (size_t r = 0; r < row.ranks.size(); ++r) {
    v1::RankView& view = *job.add_ranks();
    view.set_rank(static_cast<int32_t>(r));
    view.set_worker(row.ranks[r].worker);
    if (memory == nullptr || !memory->ranks[r].heard()) continue;
    const RankTelemetry& rank = memory->ranks[r];
    view.set_state(ToWire(rank.state()));
    view.set_step(rank.last().step);
    view.set_straggler(memory->stragglers.count(static_cast<int32_t>(r)) > 0);
    if (rank.reason().empty() || ++reasons > kMostReasons) continue;
    view.set_reason(OneLine(rank.reason().substr(0, kMostReasonBytes)));
  }
}

// Sums and extremes over ranks.
void FillCounts(const JobMemory& memory, v1::Progress& progress) {
  int64_t least_step = -1;
  uint64_t sent = 0, dense = 0;
  int32_t running = 0;
  for (const RankTelemetry& rank : memory.ranks) {
    const int64_t step = rank.heard() ? rank.last().step : 0;
    least_step = least_step < 0 ? step : std::min(least_step, step);
    if (!rank.heard()) continue;
    running += rank.state() == RankState::kRunning ? 1 : 0;
    sent += rank.last().sent_bytes;
    dense += rank.last().dense_equivalent_bytes;
  }
  progress.set_step(std::max<int64_t>(least_step, 0));
  progress.set_ranks_running(running);
  progress.set_sent_bytes(sent);
  progress.set_dense_equivalent_bytes(dense);
}

void FillTimes(const JobMemory& memory, int64_t window, v1::Progress& progress) {
  PhaseSeconds sum = {};
  double slowest = 0;
  int known = 0;
  for (const RankTelemetry& rank : memory.ranks) {
    PhaseSeconds mean = {};
    if (!rank.MeanOver(window, mean)) continue;
    double step = 0;
    for (int p = 0; p < kPhases; ++p) {
      sum[p] += mean[p];
      step += mean[p];
    }
    slowest = std::max(slowest, step);
    ++known;
  }
  if (known == 0) return;
  for (double& seconds : sum) seconds /= known;
  *progress.mutable_phases() = ToWire(sum);
  progress.set_step_seconds(slowest);
}

void FillSlow(const Core& core, const JobRow& row, const JobMemory& memory, v1::Progress& progress) {
  std::vector<Straggler> slow = FindStragglers(memory.ranks, memory.stragglers, core.options());
  std::sort(slow.begin(), slow.end(), [](const Straggler& a, const Straggler& b) { return a.ratio > b.ratio; });
  for (const Straggler& found : slow) {
    if (progress.slow_size() == kMostSlow) break;
    v1::SlowRank& wire = *progress.add_slow();
    wire.set_rank(found.rank);
    wire.set_worker(row.ranks[found.rank].worker);
    wire.set_ratio(found.ratio);
    wire.set_phase(ToWire(found.phase));
    wire.set_seconds(found.seconds);
    wire.set_median_seconds(found.median_seconds);
  }
}

// How long the worker that was silent longest has been so.
int64_t SilentFor(const Core& core, const JobRow& row, int64_t now_us) {
  int64_t silent_us = 0;
  for (const RankPlace& place : row.ranks)
    if (const Lease* lease = core.memory().leases.Find(place.worker); lease != nullptr)
      silent_us = std::max(silent_us, now_us - (lease->until_us - core.options().lease_us));
  return silent_us;
}

}  // namespace

const JobMemory* GenerationMemory(const Core& core, const JobRow& row) {
  const auto found = core.memory().jobs.find(row.id);
  if (found == core.memory().jobs.end() || found->second.generation != row.generation) return nullptr;
  return found->second.ranks.size() == row.ranks.size() ? &found->second : nullptr;
}

v1::Progress ViewOfProgress(const Core& core, const JobRow& row, int64_t now_us) {
  v1::Progress progress;
  progress.set_job(row.id);
  progress.set_generation(row.generation);
  progress.set_ranks(static_cast<int32_t>(row.ranks.size()));
  const JobMemory* memory = GenerationMemory(core, row);
  if (memory == nullptr || !row.held) return progress;
  FillCounts(*memory, progress);
  FillTimes(*memory, core.options().straggler_steps, progress);
  FillSlow(core, row, *memory, progress);
  progress.set_last_heard_ms(SilentFor(core, row, now_us) / 1000);
  return progress;
}

v1::Job ViewOfJob(const Core& core, const JobRow& row, int64_t now_us) {
  v1::Job job;
  FillHead(core, row, job);
  *job.mutable_spec() = rpc::ToWire(*row.spec);
  if (row.held) *job.mutable_progress() = ViewOfProgress(core, row, now_us);
  FillRanks(row, GenerationMemory(core, row), job);
  return job;
}

v1::ListReply ListJobs(const Core& core, const ListQuery& query, int64_t now_us) {
  const Tables& tables = core.tables();
  std::vector<const JobRow*> rows;
  const auto take = [&](const JobRow& row) {
    if (query.before_number == 0 || row.number < query.before_number) rows.push_back(&row);
  };
  if (query.ended)
    for (const auto& [id, row] : tables.jobs()) take(row);
  else
    for (const std::string& id : tables.open_jobs()) take(*tables.FindJob(id));
  const size_t count = std::min(rows.size(), static_cast<size_t>(query.limit));
  std::partial_sort(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count), rows.end(),
                    [](const JobRow* a, const JobRow* b) { return a->number > b->number; });
  v1::ListReply reply;
  reply.set_more(count < rows.size());
  reply.set_epoch(tables.epoch());
  for (size_t i = 0; i < count; ++i) {
    v1::Job& job = *reply.add_jobs();
    FillHead(core, *rows[i], job);
    *job.mutable_spec() = rpc::ToWireWithoutTexts(*rows[i]->spec);
    if (rows[i]->held) *job.mutable_progress() = ViewOfProgress(core, *rows[i], now_us);
  }
  return reply;
}

v1::ListWorkersReply ListWorkers(const Core& core, const ListWorkersQuery& query) {
  const Tables& tables = core.tables();
  v1::ListWorkersReply reply;
  for (auto at = tables.workers().upper_bound(query.after); at != tables.workers().end(); ++at) {
    const WorkerRow& row = at->second;
    if (!query.gone && row.presence != Presence::kLive) continue;
    if (reply.workers_size() == query.limit) {
      reply.set_more(true);
      break;
    }
    int32_t used = 0;
    for (const std::string& id : tables.JobsOn(row.name))
      for (const RankPlace& place : tables.FindJob(id)->ranks) used += place.worker == row.name ? 1 : 0;
    v1::Worker& worker = *reply.add_workers();
    worker.set_name(row.name);
    worker.set_host(row.host);
    worker.set_slots(row.slots);
    worker.set_used(used);
    worker.set_presence(ToWire(row.presence));
    worker.set_draining(row.draining);
    worker.set_incarnation(row.incarnation);
  }
  return reply;
}

}  // namespace filigree::coordinator
