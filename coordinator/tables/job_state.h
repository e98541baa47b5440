#ifndef FILIGREE_COORDINATOR_TABLES_JOB_STATE_H_
#define FILIGREE_COORDINATOR_TABLES_JOB_STATE_H_

#include <cstdint>
#include <optional>
#include <string_view>

// The states of a job and every move between them (drawn in docs/coordinator.md).

namespace filigree::coordinator {

enum class JobState : uint8_t {
  kSubmitted,   // taken; the workers there are could not hold it, even idle
  kQueued,      // they could; it waits for its turn
  kPlaced,      // a generation has its ranks; not all of them run yet
  kRunning,     // all ranks of the generation run
  kDraining,    // the generation is being ended on request
  kRecovering,  // the generation is being ended, or was, because of a fault; the next one follows
  kDone,        // all ranks finished
  kFailed,      // given up
  kCancelled    // ended by request
};
inline constexpr int kJobStates = 9;

// Why a job drains, and so what follows when its ranks are gone.
enum class Intent : uint8_t {
  kNone,
  kRequeue,  // a worker is being emptied: checkpoint, then back into the queue
  kGrow,     // more ranks fit: checkpoint, then back into the queue
  kStop,     // the job was drained: checkpoint, then cancelled
  kCancel    // cancelled, without a checkpoint
};
inline constexpr int kIntents = 5;

const char* Name(JobState state);
const char* Name(Intent intent);
std::optional<JobState> JobStateOf(std::string_view name);
std::optional<Intent> IntentOf(std::string_view name);

// Whether a job may go from one state to the other in one move.
bool CanMove(JobState from, JobState to);

// Done, failed, cancelled: nothing moves on from there, and no rank runs.
bool Ended(JobState state);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_TABLES_JOB_STATE_H_
