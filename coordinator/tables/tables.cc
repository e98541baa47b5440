#include "coordinator/tables/tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/ids.h"

namespace filigree::coordinator {

bool JobRow::operator==(const JobRow& other) const {
  const bool same_spec = spec == other.spec || (spec && other.spec && *spec == *other.spec);
  return same_spec && id == other.id && number == other.number && state == other.state && intent == other.intent &&
         reason == other.reason && generation == other.generation && data == other.data && ranks == other.ranks &&
         held == other.held && ran == other.ran && rollback == other.rollback && resume == other.resume &&
         restarts == other.restarts && fruitless == other.fruitless && reached_step == other.reached_step &&
         submitted_us == other.submitted_us && started_us == other.started_us && ended_us == other.ended_us;
}

void Tables::Apply(const Changes& changes) {
  if (changes.epoch) epoch_ = *changes.epoch;
  for (const WorkerRow& row : changes.workers) workers_[row.name] = row;
  for (const JobRow& row : changes.jobs) {
    JobRow& stored = jobs_[row.id];
    if (stored.held)
      for (const RankPlace& place : stored.ranks) jobs_on_[place.worker].erase(row.id);
    stored = row;
    if (row.held)
      for (const RankPlace& place : row.ranks) jobs_on_[place.worker].insert(row.id);
    if (Ended(row.state)) {
      open_jobs_.erase(row.id);
      ended_jobs_[row.number] = row.id;
    } else {
      open_jobs_.insert(row.id);
    }
    if (row.spec && !row.spec->idempotency_key.empty()) keys_[row.spec->idempotency_key] = row.id;
    next_number_ = std::max(next_number_, row.number + 1);
  }
  for (const CommitRow& row : changes.commits) last_commits_[row.job] = row;
  for (const std::string& job : changes.forgotten) Forget(job);
}

void Tables::Forget(const std::string& job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return;
  const JobRow& row = found->second;
  if (row.spec && JobOfKey(row.spec->idempotency_key) != nullptr && keys_[row.spec->idempotency_key] == job)
    keys_.erase(row.spec->idempotency_key);
  open_jobs_.erase(job);
  ended_jobs_.erase(row.number);
  last_commits_.erase(job);
  jobs_.erase(found);
}

const WorkerRow* Tables::FindWorker(const std::string& name) const {
  const auto found = workers_.find(name);
  return found == workers_.end() ? nullptr : &found->second;
}

const JobRow* Tables::FindJob(const std::string& id) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : &found->second;
}

const std::string* Tables::JobOfKey(const std::string& idempotency_key) const {
  const auto found = keys_.find(idempotency_key);
  return found == keys_.end() ? nullptr : &found->second;
}

const std::set<std::string>& Tables::JobsOn(const std::string& worker) const {
  static const std::set<std::string> kNone;
  const auto found = jobs_on_.find(worker);
  return found == jobs_on_.end() ? kNone : found->second;
}

const CommitRow* Tables::LastCommit(const std::string& job) const {
  const auto found = last_commits_.find(job);
  return found == last_commits_.end() ? nullptr : &found->second;
}

namespace {

std::string WrongInWorker(const WorkerRow& row) {
  if (row.slots < 1) return fmt::format("has {} slots", row.slots);
  if (row.incarnation < 1) return fmt::format("has incarnation {}", row.incarnation);
  return "";
}

// Workers by the place of a rank: it must be known, and not in an incarnation that is yet to come.
std::string WrongPlace(const RankPlace& place, const Tables& tables) {
  const WorkerRow* worker = tables.FindWorker(place.worker);
  if (worker == nullptr) return fmt::format("has a rank on the unknown worker {}", place.worker);
  if (place.incarnation < 1 || place.incarnation > worker->incarnation)
    return fmt::format("has a rank on incarnation {} of worker {}, which is at {}", place.incarnation, place.worker,
                       worker->incarnation);
  return "";
}

// Whether the ranks are those of a grid the spec allows, on workers there are.
std::string WrongRanks(const JobRow& row, const Tables& tables) {
  if (row.generation == 0)
    return row.ranks.empty() && !row.held ? "" : fmt::format("has {} ranks and no generation", row.ranks.size());
  if (row.data < row.spec->min_data || row.data > row.spec->data)
    return fmt::format("has {} replicas, of {} to {}", row.data, row.spec->min_data, row.spec->data);
  if (row.ranks.size() != static_cast<size_t>(row.data) * row.spec->tensor)
    return fmt::format("has {} ranks on a grid of {} x {}", row.ranks.size(), row.data, row.spec->tensor);
  for (const RankPlace& place : row.ranks)
    if (std::string wrong = WrongPlace(place, tables); !wrong.empty()) return wrong;
  return "";
}

std::string WrongCommits(const JobRow& row, const CommitRow* last) {
  if (row.resume && (last == nullptr || last->point.step < row.resume->step))
    return fmt::format("resumed from step {}, which is not among its commits", row.resume->step);
  if (last != nullptr && last->point.generation > row.generation)
    return fmt::format("has a commit of generation {}, but is at {}", last->point.generation, row.generation);
  return "";
}

std::string WrongInJob(const JobRow& row, const Tables& tables) {
  if (!row.spec) return "has no spec";
  if (row.number < 1 || row.generation < 0) return "has a number or a generation below its range";
  if (row.id != contract::JobId(row.spec->name, row.number))
    return fmt::format("is number {} of name {}", row.number, row.spec->name);
  if (!row.spec->idempotency_key.empty() && *tables.JobOfKey(row.spec->idempotency_key) != row.id)
    return fmt::format("shares its idempotency_key with job {}", *tables.JobOfKey(row.spec->idempotency_key));
  const bool active =
      row.state == JobState::kPlaced || row.state == JobState::kRunning || row.state == JobState::kDraining;
  if (active && !row.held) return fmt::format("is {} and holds no ranks", Name(row.state));
  if (row.held && (Ended(row.state) || row.state == JobState::kSubmitted || row.state == JobState::kQueued))
    return fmt::format("is {} and holds ranks", Name(row.state));
  if ((row.state == JobState::kDraining) != (row.intent != Intent::kNone))
    return fmt::format("is {} with intent {}", Name(row.state), Name(row.intent));
  if (std::string wrong = WrongRanks(row, tables); !wrong.empty()) return wrong;
  return WrongCommits(row, tables.LastCommit(row.id));
}

// No worker holds more ranks than it has slots; those of incarnations that are over hold none.
std::string Overbooked(const Tables& tables) {
  std::map<std::string, int64_t> taken;
  for (const std::string& job : tables.open_jobs()) {
    const JobRow& row = *tables.FindJob(job);
    if (!row.held) continue;
    for (const RankPlace& place : row.ranks) {
      const WorkerRow& worker = *tables.FindWorker(place.worker);
      if (worker.incarnation == place.incarnation && ++taken[place.worker] > worker.slots)
        return fmt::format("worker {}: has {} slots and more ranks", place.worker, worker.slots);
    }
  }
  return "";
}

}  // namespace

absl::Status Tables::Check() const {
  for (const auto& [name, row] : workers_)
    if (const std::string wrong = WrongInWorker(row); !wrong.empty())
      return absl::DataLossError(fmt::format("worker {}: {}", name, wrong));
  for (const auto& [id, row] : jobs_)
    if (const std::string wrong = WrongInJob(row, *this); !wrong.empty())
      return absl::DataLossError(fmt::format("job {}: {}", id, wrong));
  for (const auto& [job, row] : last_commits_)
    if (FindJob(job) == nullptr)
      return absl::DataLossError(fmt::format("commit of step {}: of the unknown job {}", row.point.step, job));
  if (const std::string wrong = Overbooked(*this); !wrong.empty()) return absl::DataLossError(wrong);
  return absl::OkStatus();
}

}  // namespace filigree::coordinator
