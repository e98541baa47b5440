#include "tests/sim/judge.h"

#include <fmt/format.h>

#include <algorithm>

namespace filigree::sim {

using coordinator::CanMove;
using coordinator::Ended;
using coordinator::JobRow;
using coordinator::JobState;
using coordinator::Tables;
using coordinator::WorkerRow;

void Judge::Violated(const std::string& text) {
  if (violation.empty()) violation = fmt::format("at {:.6f} s: {}", static_cast<double>(now_us) * 1e-6, text);
}

void Judge::Trace(const std::string& text) {
  for (const char c : text) trace_ = (trace_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
}

void Judge::SawKept(const Tables& before, const coordinator::Outcome& outcome) {
  for (const coordinator::Event& event : outcome.events) {
    const std::string line = fmt::format("  {} {} {} generation {} rank {} {}", Name(event.kind), event.job,
                                         event.worker, event.generation, event.rank, event.text);
    Trace(fmt::format("{} {}\n", now_us, line));
    if (tell)
      tell(event.kind == coordinator::EventKind::kJobMoved ? fmt::format("{} -> {}", line, Name(event.to)) : line);
    if (event.kind == coordinator::EventKind::kMasksDiffer) {
      ++rollbacks_;
      differed_.insert({event.job, event.generation});
    }
    if (event.kind != coordinator::EventKind::kJobMoved || event.from == event.to) continue;
    if (!CanMove(event.from, event.to))
      Violated(fmt::format("job {} moved from {} to {}", event.job, Name(event.from), Name(event.to)));
  }
  for (const WorkerRow& row : outcome.rows.workers) {
    if (row.presence != coordinator::Presence::kLive) over_[row.name].insert(row.incarnation);
    const WorkerRow* stood = before.FindWorker(row.name);
    if (stood != nullptr && row.incarnation > stood->incarnation) over_[row.name].insert(stood->incarnation);
    if (stood != nullptr && row.incarnation < stood->incarnation)
      Violated(fmt::format("worker {} goes back to incarnation {}", row.name, row.incarnation));
    if (row.presence == coordinator::Presence::kLive && over_[row.name].count(row.incarnation) > 0)
      Violated(fmt::format("incarnation {} of worker {} lives again", row.incarnation, row.name));
  }
  for (const JobRow& row : outcome.rows.jobs) CheckJob(before.FindJob(row.id), row, before, outcome.rows);
  for (const coordinator::CommitRow& row : outcome.rows.commits) {
    ++commits_;
    const auto last = kept_.find(row.job);
    if (last != kept_.end() && row.point.step <= last->second.step)
      Violated(fmt::format("job {} commits step {} after step {}", row.job, row.point.step, last->second.step));
    if (row.point.generation != newest_[row.job])
      Violated(fmt::format("job {} is at generation {} and takes a commit of generation {}", row.job, newest_[row.job],
                           row.point.generation));
    const auto damage = damaged_.find({row.job, row.point.generation});
    if (damage != damaged_.end() && row.point.step > damage->second)
      Violated(fmt::format("job {} commits step {} of generation {}, whose replicas differ since step {}", row.job,
                           row.point.step, row.point.generation, damage->second));
    kept_[row.job] = row.point;
  }
}

void Judge::CheckJob(const JobRow* before, const JobRow& row, const Tables& tables, const coordinator::Changes& rows) {
  int64_t& newest = newest_[row.id];
  if (row.generation < newest) Violated(fmt::format("job {} goes back to generation {}", row.id, row.generation));
  const bool placed = row.generation > newest;
  newest = std::max(newest, row.generation);
  if (before != nullptr && Ended(before->state) && !(*before == row))
    Violated(fmt::format("job {} had ended and changes", row.id));
  // Two moves out of the state before it and into a new generation may be one decision; a generation without one is
  // not.
  if (before != nullptr && row.held && before->held && row.generation == before->generation &&
      !(row.ranks == before->ranks))
    Violated(fmt::format("ranks of generation {} of job {} move", row.generation, row.id));
  if (!placed) return;
  ++generations_;
  if (cancelled_.count(row.id) > 0) Violated(fmt::format("job {} was cancelled and is placed", row.id));
  if (row.data < row.spec->min_data || row.data > row.spec->data ||
      row.ranks.size() != static_cast<size_t>(row.data) * row.spec->tensor)
    Violated(fmt::format("job {} is placed on {} replicas with {} ranks", row.id, row.data, row.ranks.size()));
  const auto last = kept_.find(row.id);
  if (row.resume != (last == kept_.end() ? std::nullopt : std::optional(last->second)))
    Violated(fmt::format("generation {} of job {} does not begin at the last commit", row.generation, row.id));
  const bool untouched = before != nullptr && before->rollback && !before->ran;
  if (!row.rollback && (differed_.count({row.id, row.generation - 1}) > 0 || untouched))
    Violated(fmt::format("generation {} of job {} may begin with replicas that differed", row.generation, row.id));
  CheckGroups(row, tables, rows);
}

void Judge::CheckGroups(const JobRow& row, const Tables& tables, const coordinator::Changes& rows) {
  const auto find = [&](const std::string& name) -> const WorkerRow* {
    for (const WorkerRow& worker : rows.workers)
      if (worker.name == name) return &worker;
    return tables.FindWorker(name);
  };
  std::map<std::string, int32_t> used;
  for (size_t rank = 0; rank < row.ranks.size(); ++rank) {
    const WorkerRow* worker = find(row.ranks[rank].worker);
    const WorkerRow* first = find(row.ranks[rank - rank % row.spec->tensor].worker);
    if (worker == nullptr || first == nullptr) return Violated(fmt::format("job {} is placed on nobody", row.id));
    if (worker->host != first->host)
      Violated(fmt::format("the tensor group of rank {} of job {} spans {} and {}", rank, row.id, first->host,
                           worker->host));
    if (++used[worker->name] > worker->slots)
      Violated(fmt::format("job {} takes more than the {} slots of worker {}", row.id, worker->slots, worker->name));
  }
}

void Judge::CheckPromises(const Tables& tables) {
  if (absl::Status status = tables.Check(); !status.ok()) Violated(std::string(status.message()));
  for (const auto& [job, spec] : submitted_) {
    const JobRow* row = tables.FindJob(job);
    if (row == nullptr || !(*row->spec == spec)) Violated(fmt::format("job {} was acknowledged and is lost", job));
  }
  for (const auto& [job, point] : committed_) {
    const coordinator::CommitRow* last = tables.LastCommit(job);
    if (last == nullptr || last->point.step < point.step)
      Violated(fmt::format("the commit of step {} of job {} was acknowledged and is lost", point.step, job));
  }
  for (const std::string& job : cancelled_) {
    const JobRow* row = tables.FindJob(job);
    const bool ends =
        row != nullptr &&
        (Ended(row->state) || (row->state == JobState::kDraining && row->intent == coordinator::Intent::kCancel));
    if (!ends) Violated(fmt::format("job {} was cancelled, was told so, and goes on", job));
  }
}

void Judge::SawCommitted(const std::string& job, const coordinator::CommitPoint& point) {
  const auto kept = kept_.find(job);
  if (kept == kept_.end() || kept->second.step < point.step)
    Violated(fmt::format("the commit of step {} of job {} was acknowledged and not kept", point.step, job));
  coordinator::CommitPoint& last = committed_[job];
  if (point.step > last.step) last = point;
}

void Judge::SawStart(const std::string& job, int64_t generation, int32_t rank,
                     const std::optional<coordinator::CommitPoint>& resume) {
  if (!started_.insert({job, generation, rank}).second)
    Violated(fmt::format("rank {} of generation {} of job {} is started twice", rank, generation, job));
  const auto [known, first] = resumes_.try_emplace({job, generation}, resume);
  if (!first && known->second != resume)
    Violated(fmt::format("ranks of generation {} of job {} begin at different commits", generation, job));
}

void Judge::SawRunning(const std::string& job, const std::set<int64_t>& generations) {
  if (generations.size() < 2) return;
  Violated(fmt::format("generations {} and {} of job {} run at once under valid leases", *generations.begin(),
                       *generations.rbegin(), job));
}

void Judge::SawTaken(const std::string& worker, int64_t incarnation) {
  if (over_[worker].count(incarnation) > 0)
    Violated(fmt::format("incarnation {} of worker {} is over and was heard", incarnation, worker));
}

}  // namespace filigree::sim
