#ifndef FILIGREE_COORDINATOR_CORE_MESSAGES_H_
#define FILIGREE_COORDINATOR_CORE_MESSAGES_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/telemetry.h"
#include "coordinator/tables/rows.h"
#include "proto/contract/job_spec.h"

// What workers, ranks and users ask, and what they are told. Plain values: the wire is another room.

namespace filigree::coordinator {

// Which process speaks. Refused for ever once that incarnation's lease has run out.
struct Speaker {
  std::string worker;
  int64_t incarnation = 0;
};

struct RegisterRequest {
  std::string name, host;
  int32_t slots = 0;
  std::string nonce;     // an id, new for every start of a worker: who repeats a registration gets the same answer
  std::string replaces;  // nonce of an earlier registration that this process held and whose ranks are gone; or empty
};
struct RegisterReply {
  int64_t incarnation = 0;
  int64_t epoch = 0;
  int64_t lease_us = 0;  // from when the request was sent
  int64_t heartbeat_us = 0;
};

// Digests of one rank's state, by name ("weights", "moments"), in ascending order of names.
using Digests = std::vector<std::pair<std::string, std::string>>;

// What a worker knows of one rank. It is repeated in every heartbeat as long as its generation is assigned.
struct RankReport {
  std::string job;
  int64_t generation = 0;
  int32_t rank = 0;
  RankState state = RankState::kStarting;
  std::string reason;  // of a failure: what happened first, and where
  RankProgress progress;
  int64_t mask_epoch =
      -1;                // last mask update it reported, -1: none; so a coordinator that was restarted knows it again
  Digests mask_digests;  // that it left
  std::string metrics_address;                // HOST:PORT where it shows its metrics; empty: nowhere
  std::shared_ptr<const RunFigures> figures;  // of the run, from its first rank; null: as before
};

// A worker has one heartbeat on its way at a time: once it has sent the next, it takes no answer to an earlier one.
struct HeartbeatRequest {
  Speaker speaker;
  int64_t epoch = 0;     // as the last answer told
  int64_t sequence = 0;  // grows with every heartbeat
  std::vector<RankReport> ranks;
  bool leaving = false;  // the worker is about to leave: drains it
};

enum class Action : uint8_t {
  kRun,  // start the ranks, unless this generation was ever started here
  kCheckpointAndStop,
  kStop  // at once; a backend that keeps its processes leaves the generation and waits for the next
};

// What a worker is to do for one job. Ranks of generations that are not in the answer are to be stopped.
struct Assignment {
  std::string job;
  int64_t generation = 0;
  Action action = Action::kRun;
  bool keep_processes = false;  // they may be ranks of the next generation; false also where none is to follow
  // With kRun only.
  std::vector<int32_t> ranks;  // of this worker
  int32_t data = 0, tensor = 0;
  bool rollback = false;                          // start from `resume`, whatever is alive
  std::optional<CommitPoint> resume;              // none: from the beginning
  std::shared_ptr<const contract::JobSpec> spec;  // null where the worker reports this generation already
};
struct HeartbeatReply {
  int64_t epoch = 0;
  int64_t lease_us = 0;    // from when the heartbeat was sent
  bool again = false;      // the coordinator was restarted: heartbeat again at once; the assignments are not told
  bool may_leave = false;  // the worker is being drained and nothing is left on it
  std::vector<Assignment> assignments;  // by job
};

struct LeaveRequest {  // all its ranks are gone
  Speaker speaker;
};
struct DrainWorkerRequest {
  std::string worker;
};
struct SubmitRequest {
  contract::JobSpec spec;
};
struct SubmitReply {
  std::string job;
  bool repeated = false;  // the key was known: nothing new was made
};
struct DrainJobRequest {
  std::string job;
};
struct CancelRequest {
  std::string job;
};
struct CommitRequest {
  Speaker speaker;
  std::string job;
  CommitPoint point;
};

struct MaskReportRequest {
  Speaker speaker;
  std::string job;
  int64_t generation = 0;
  int32_t rank = 0;
  int64_t epoch = 0;  // number of the mask update
  Digests before;     // of what the last update left, recomputed now; empty at a generation's first
  Digests after;
};
struct MaskReportReply {
  bool agreed = false;  // all replicas have said the same; else ask again
};

struct Empty {};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_MESSAGES_H_
