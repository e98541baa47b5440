#ifndef FILIGREE_COORDINATOR_TABLES_ROWS_H_
#define FILIGREE_COORDINATOR_TABLES_ROWS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/tables/job_state.h"
#include "proto/contract/job_spec.h"

// What must outlive the process: the rows a journal keeps. A row replaces the one with its key.

namespace filigree::coordinator {

enum class Presence : uint8_t {
  kLive,  // holds a lease
  kLost,  // the lease ran out: this incarnation is refused for ever
  kLeft   // it said goodbye
};

inline constexpr int32_t kMaxSlots = 4096;  // of one worker

// Key: name.
struct WorkerRow {
  std::string name;
  std::string host;         // workers of one host may share a tensor group
  int32_t slots = 0;        // ranks it can hold, 1..kMaxSlots
  int64_t incarnation = 0;  // grows with every registration of the name, never reused
  std::string nonce;        // the registration's own; who repeats it is the same process
  Presence presence = Presence::kLive;
  bool draining = false;  // gets no more ranks

  bool operator==(const WorkerRow&) const = default;
};

// Where a rank is. The index in JobRow::ranks is the rank: data index x tensor size + tensor index.
struct RankPlace {
  std::string worker;
  int64_t incarnation = 0;

  bool operator==(const RankPlace&) const = default;
};

struct CommitPoint {
  int64_t generation = 0;
  int64_t step = 0;
  std::string digest;  // of the manifest

  bool operator==(const CommitPoint&) const = default;
};

// Key: id.
struct JobRow {
  std::string id;
  int64_t number = 0;  // of the submission; the order within one priority
  std::shared_ptr<const contract::JobSpec> spec;
  JobState state = JobState::kSubmitted;
  Intent intent = Intent::kNone;  // while draining
  std::string reason;             // of the last move, for people

  int64_t generation = 0;  // 0: none yet; strictly growing, never reused
  int32_t data = 0;        // replicas of this generation; tensor is the spec's
  std::vector<RankPlace> ranks;
  bool held = false;      // the ranks may still run: their slots are taken, no other generation may start
  bool ran = false;       // every rank of this generation ran at one time
  bool rollback = false;  // replicas disagreed: this generation starts from `resume`, not from what is alive
  std::optional<CommitPoint> resume;  // the last commit when this generation was placed

  int32_t restarts = 0;      // generations ended by a fault
  int32_t fruitless = 0;     // of these, the last ones in a row that had no progress
  int64_t reached_step = 0;  // the furthest step any ended generation reported

  int64_t submitted_us = 0, started_us = 0, ended_us = 0;  // wall time; 0: not yet

  bool operator==(const JobRow& other) const;  // specs compared by value
};

// Key: job and step. Never replaced: the row is the commit.
struct CommitRow {
  std::string job;
  CommitPoint point;
  int64_t wall_us = 0;

  bool operator==(const CommitRow&) const = default;
};

// The rows of one decision: all of them are kept or none. Ordered by key.
struct Changes {
  std::optional<int64_t> epoch;  // starts of the coordinator on this journal
  std::vector<WorkerRow> workers;
  std::vector<JobRow> jobs;
  std::vector<CommitRow> commits;
  std::vector<std::string> forgotten;  // jobs that have ended, never the last submitted: their rows and commits go

  bool empty() const { return !epoch && workers.empty() && jobs.empty() && commits.empty() && forgotten.empty(); }
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_TABLES_ROWS_H_
