#ifndef FILIGREE_TESTS_SIM_JUDGE_H_
#define FILIGREE_TESTS_SIM_JUDGE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "coordinator/core/core.h"

// What must hold whatever happens, kept apart from the code under test: the judge hears what the nodes did and were
// told, and remembers it himself. The first thing that must not be is kept in `violation`.

namespace filigree::sim {

class Judge {
 public:
  std::string violation;  // empty: none so far
  int64_t now_us = 0;
  std::function<void(const std::string&)> tell;  // hears every event; may be empty

  void Violated(const std::string& text);

  // The coordinator kept these rows and said these events.
  void SawKept(const coordinator::Tables& before, const coordinator::Outcome& outcome);
  // These are the coordinator's rows now: is everything there that was acknowledged?
  void CheckPromises(const coordinator::Tables& tables);

  // A client or a rank was told yes.
  void SawSubmitted(const std::string& job, const contract::JobSpec& spec) { submitted_[job] = spec; }
  void SawCancelled(const std::string& job) { cancelled_.insert(job); }
  void SawCommitted(const std::string& job, const coordinator::CommitPoint& point);

  // A worker starts a rank.
  void SawStart(const std::string& job, int64_t generation, int32_t rank,
                const std::optional<coordinator::CommitPoint>& resume);
  // A rank's memory was damaged after `step`; replicas of its generation must not commit a later step.
  void SawDamage(const std::string& job, int64_t generation, int64_t step) { damaged_[{job, generation}] = step; }

  // The generations of a job that run now under valid leases.
  void SawRunning(const std::string& job, const std::set<int64_t>& generations);
  // The coordinator took a message of this incarnation.
  void SawTaken(const std::string& worker, int64_t incarnation);

  const std::set<std::string>& cancelled() const { return cancelled_; }
  const std::map<std::string, contract::JobSpec>& submitted() const { return submitted_; }
  uint64_t trace() const { return trace_; }  // of all decisions, wall time left out
  int64_t commits() const { return commits_; }
  int64_t generations() const { return generations_; }
  int64_t rollbacks() const { return rollbacks_; }

 private:
  void CheckJob(const coordinator::JobRow* before, const coordinator::JobRow& row, const coordinator::Tables& tables,
                const coordinator::Changes& rows);
  void CheckGroups(const coordinator::JobRow& row, const coordinator::Tables& tables, const coordinator::Changes& rows);
  void Trace(const std::string& text);

  std::map<std::string, contract::JobSpec> submitted_;
  std::set<std::string> cancelled_;
  std::map<std::string, coordinator::CommitPoint> committed_;  // the last that was acknowledged
  std::map<std::string, coordinator::CommitPoint> kept_;       // the last that was kept
  std::map<std::string, int64_t> newest_;                      // generation ever kept
  std::map<std::string, std::set<int64_t>> over_;              // incarnations of workers that are over
  std::set<std::tuple<std::string, int64_t, int32_t>> started_;
  std::map<std::pair<std::string, int64_t>, std::optional<coordinator::CommitPoint>> resumes_;
  std::map<std::pair<std::string, int64_t>, int64_t> damaged_;
  std::set<std::pair<std::string, int64_t>> differed_;  // generations whose replicas were found to differ
  uint64_t trace_ = 14695981039346656037u;
  int64_t commits_ = 0, generations_ = 0, rollbacks_ = 0;
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_JUDGE_H_
