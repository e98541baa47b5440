#ifndef FILIGREE_COORDINATOR_TABLES_TABLES_H_
#define FILIGREE_COORDINATOR_TABLES_TABLES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "coordinator/tables/rows.h"

// All rows, and what is looked up in them. What a journal holds and a core knows are two of these, always equal after
// an accepted decision. Everything is ordered, so that no decision hangs on a hash.

namespace filigree::coordinator {

class Tables {
 public:
  // Rows replace those of their key.
  void Apply(const Changes& changes);

  // DataLoss: the first thing that no sequence of decisions leaves behind (a rank of an unknown worker, commits that do
  // not ascend, a job without a spec, ...). For rows that were read from outside.
  absl::Status Check() const;

  int64_t epoch() const { return epoch_; }
  const std::map<std::string, WorkerRow>& workers() const { return workers_; }
  const std::map<std::string, JobRow>& jobs() const { return jobs_; }
  const std::set<std::string>& open_jobs() const { return open_jobs_; }             // that have not ended
  const std::map<int64_t, std::string>& ended_jobs() const { return ended_jobs_; }  // by number

  const WorkerRow* FindWorker(const std::string& name) const;  // null: none
  const JobRow* FindJob(const std::string& id) const;          // null: none
  const std::string* JobOfKey(const std::string& idempotency_key) const;
  const std::set<std::string>& JobsOn(const std::string& worker) const;  // that hold slots there
  const CommitRow* LastCommit(const std::string& job) const;             // null: none
  int64_t next_number() const { return next_number_; }

 private:
  void Forget(const std::string& job);

  int64_t epoch_ = 0;
  int64_t next_number_ = 1;
  std::map<std::string, WorkerRow> workers_;
  std::map<std::string, JobRow> jobs_;
  std::map<std::string, CommitRow> last_commits_;
  // Derived.
  std::set<std::string> open_jobs_;
  std::map<int64_t, std::string> ended_jobs_;
  std::map<std::string, std::string> keys_;
  std::map<std::string, std::set<std::string>> jobs_on_;
};

// Every row and every field as text, in order: equal tables have equal dumps, others differ.
std::string Dump(const Tables& tables);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_TABLES_TABLES_H_
