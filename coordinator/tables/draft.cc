#include "coordinator/tables/draft.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace filigree::coordinator {
namespace {

bool HoldsOn(const JobRow& row, const std::string& worker) {
  return row.held &&
         std::any_of(row.ranks.begin(), row.ranks.end(), [&](const RankPlace& p) { return p.worker == worker; });
}

}  // namespace

const WorkerRow* Draft::FindWorker(const std::string& name) const {
  const auto found = workers_.find(name);
  return found == workers_.end() ? tables_.FindWorker(name) : &found->second;
}

const JobRow* Draft::FindJob(const std::string& id) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? tables_.FindJob(id) : &found->second;
}

const JobRow& Draft::Job(const std::string& id) const {
  const JobRow* row = FindJob(id);
  CHECK(row != nullptr, "no job {}", id);
  return *row;
}

const CommitRow* Draft::LastCommit(const std::string& job) const {
  const auto found = commits_.find(job);
  return found == commits_.end() ? tables_.LastCommit(job) : &found->second;
}

WorkerRow& Draft::EditWorker(const std::string& name) {
  const auto found = workers_.find(name);
  if (found != workers_.end()) return found->second;
  const WorkerRow* row = tables_.FindWorker(name);
  CHECK(row != nullptr, "no worker {}", name);
  return workers_[name] = *row;
}

JobRow& Draft::EditJob(const std::string& id) {
  const auto found = jobs_.find(id);
  if (found != jobs_.end()) return found->second;
  return jobs_[id] = Job(id);
}

std::set<std::string> Draft::OpenJobs() const {
  std::set<std::string> open = tables_.open_jobs();
  for (const auto& [id, row] : jobs_)
    if (Ended(row.state))
      open.erase(id);
    else
      open.insert(id);
  return open;
}

std::set<std::string> Draft::JobsOn(const std::string& worker) const {
  std::set<std::string> on = tables_.JobsOn(worker);
  for (const auto& [id, row] : jobs_)
    if (HoldsOn(row, worker))
      on.insert(id);
    else
      on.erase(id);
  return on;
}

Changes Draft::Take() const {
  Changes changes;
  changes.epoch = epoch_;
  for (const auto& [name, row] : workers_) {
    const WorkerRow* stands = tables_.FindWorker(name);
    if (stands == nullptr || !(*stands == row)) changes.workers.push_back(row);
  }
  for (const auto& [id, row] : jobs_) {
    const JobRow* stands = tables_.FindJob(id);
    if (stands == nullptr || !(*stands == row)) changes.jobs.push_back(row);
  }
  for (const auto& [job, row] : commits_) changes.commits.push_back(row);
  changes.forgotten = forgotten_;
  return changes;
}

std::set<std::string> Draft::WorkersConcerned() const {
  std::set<std::string> concerned;
  for (const auto& [name, row] : workers_) concerned.insert(name);
  for (const auto& [id, row] : jobs_) {
    for (const RankPlace& place : row.ranks) concerned.insert(place.worker);
    const JobRow* stands = tables_.FindJob(id);
    if (stands != nullptr)
      for (const RankPlace& place : stands->ranks) concerned.insert(place.worker);
  }
  return concerned;
}

}  // namespace filigree::coordinator
