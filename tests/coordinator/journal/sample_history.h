#ifndef FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_HISTORY_H_
#define FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_HISTORY_H_

#include <cstdint>
#include <string>
#include <utility>

#include "coordinator/tables/tables.h"
#include "tests/coordinator/journal/sample_rows.h"

// A long history of decisions, the same in every process: the k-th one sets the epoch to k, so that the epoch found in
// a journal says how many of them it has.

namespace filigree::coordinator {

// Workers come back with new incarnations, jobs are taken, placed, ended and forgotten, commits ascend.
class History {
 public:
  // The next decision.
  Changes Next() {
    const int64_t k = ++count_;
    Changes changes;
    changes.epoch = k;
    const std::string name = "w" + std::to_string(k % 5);
    const WorkerRow* known = tables_.FindWorker(name);
    changes.workers.push_back(SampleWorker(name, known == nullptr ? 1 : known->incarnation + 1));
    if (k % 3 == 1) changes.jobs.push_back(Submitted(k));
    if (k % 3 == 2) changes.jobs.push_back(Running(Last(), changes.workers[0], 1 + k % 4));
    if (k % 3 == 0) {
      JobRow job = Last();
      changes.commits.push_back(SampleCommit(job, k));
      job.state = k % 2 == 0 ? JobState::kDone : JobState::kRecovering;
      job.held = false;
      changes.jobs.push_back(job);
    }
    if (k % 12 == 1 && tables_.ended_jobs().size() > 1) changes.forgotten = {tables_.ended_jobs().begin()->second};
    tables_.Apply(changes);
    return changes;
  }

  int64_t count() const { return count_; }
  const Tables& tables() const { return tables_; }

  // The tables after `count` decisions, as text.
  static std::string DumpAfter(int64_t count) {
    History history;
    while (history.count_ < count) history.Next();
    return Dump(history.tables_);
  }

 private:
  static JobRow Submitted(int64_t k) {
    JobRow row = SampleJob(k);
    contract::JobSpec spec = *row.spec;
    spec.config = std::string(static_cast<size_t>(k * 977 % 9000), '#');  // up to three pages of the file
    row.spec = std::make_shared<const contract::JobSpec>(spec);
    return row;
  }

  JobRow Last() const { return *tables_.FindJob("job-" + std::to_string(tables_.next_number() - 1)); }

  int64_t count_ = 0;
  Tables tables_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_TESTS_COORDINATOR_JOURNAL_SAMPLE_HISTORY_H_
