#ifndef FILIGREE_COORDINATOR_CORE_EVENTS_H_
#define FILIGREE_COORDINATOR_CORE_EVENTS_H_

#include <cstdint>
#include <string>

#include "coordinator/tables/job_state.h"

// What the world may want to hear of. Published once the rows of their decision are kept.

namespace filigree::coordinator {

enum class EventKind : uint8_t {
  kJobMoved,
  kCommitted,
  kFault,      // of a rank or of its worker, with the job it ends
  kStraggler,  // a rank fell behind
  kStragglerCaughtUp,
  kMasksAgreed,
  kMasksDiffer,
  kWorkerJoined,
  kWorkerDraining,
  kWorkerLost,
  kWorkerLeft
};

const char* Name(EventKind kind);

struct Event {
  EventKind kind = EventKind::kJobMoved;
  int64_t wall_us = 0;
  std::string job;     // or empty
  std::string worker;  // or empty
  int64_t generation = 0;
  int32_t rank = -1;                                                // -1: none
  int64_t step = 0;                                                 // of a commit; epoch of masks
  JobState from = JobState::kSubmitted, to = JobState::kSubmitted;  // of a move
  std::string text;                                                 // for people
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_EVENTS_H_
