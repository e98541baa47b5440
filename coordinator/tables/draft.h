#ifndef FILIGREE_COORDINATOR_TABLES_DRAFT_H_
#define FILIGREE_COORDINATOR_TABLES_DRAFT_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/tables/rows.h"
#include "coordinator/tables/tables.h"

namespace filigree::coordinator {

// The tables as they will be if this decision is kept: changed rows lie over the ones that stand. Pointers to a row are
// good until the next Edit or Put of the same key.
class Draft {
 public:
  explicit Draft(const Tables& tables) : tables_(tables) {}

  const WorkerRow* FindWorker(const std::string& name) const;
  const JobRow* FindJob(const std::string& id) const;
  const JobRow& Job(const std::string& id) const;  // must exist
  const CommitRow* LastCommit(const std::string& job) const;

  WorkerRow& EditWorker(const std::string& name);  // must exist
  JobRow& EditJob(const std::string& id);          // must exist
  void Put(const WorkerRow& row) { workers_[row.name] = row; }
  void Put(const JobRow& row) { jobs_[row.id] = row; }
  void Put(const CommitRow& row) { commits_[row.job] = row; }
  void PutEpoch(int64_t epoch) { epoch_ = epoch; }
  void Forget(const std::string& job) { forgotten_.push_back(job); }  // it has ended, and nothing else is done with it

  std::set<std::string> OpenJobs() const;
  std::set<std::string> JobsOn(const std::string& worker) const;  // that hold slots there

  const Tables& tables() const { return tables_; }
  bool touched() const {
    return epoch_ || !workers_.empty() || !jobs_.empty() || !commits_.empty() || !forgotten_.empty();
  }
  Changes Take() const;  // rows that differ from those that stand

  // Workers whose assignments may differ from those that stand.
  std::set<std::string> WorkersConcerned() const;

 private:
  const Tables& tables_;
  std::optional<int64_t> epoch_;
  std::map<std::string, WorkerRow> workers_;
  std::map<std::string, JobRow> jobs_;
  std::map<std::string, CommitRow> commits_;
  std::vector<std::string> forgotten_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_TABLES_DRAFT_H_
