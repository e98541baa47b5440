#include "coordinator/tables/job_state.h"

namespace filigree::coordinator {
namespace {

constexpr const char* kStateNames[kJobStates] = {"submitted",  "queued", "placed", "running",  "draining",
                                                 "recovering", "done",   "failed", "cancelled"};
constexpr const char* kIntentNames[kIntents] = {"none", "requeue", "grow", "stop", "cancel"};

struct Move {
  JobState from, to;
};

constexpr Move kMoves[] = {
    {JobState::kSubmitted, JobState::kQueued},      // workers came that can hold it
    {JobState::kSubmitted, JobState::kCancelled},   // cancel, drain
    {JobState::kSubmitted, JobState::kFailed},      // deadline of the queue
    {JobState::kQueued, JobState::kSubmitted},      // workers left that could hold it
    {JobState::kQueued, JobState::kPlaced},         // its turn
    {JobState::kQueued, JobState::kCancelled},      // cancel, drain
    {JobState::kQueued, JobState::kFailed},         // deadline of the queue
    {JobState::kPlaced, JobState::kRunning},        // every rank runs
    {JobState::kPlaced, JobState::kDraining},       // drain, cancel
    {JobState::kPlaced, JobState::kRecovering},     // fault, deadline of the start
    {JobState::kRunning, JobState::kDraining},      // drain, cancel, grow
    {JobState::kRunning, JobState::kRecovering},    // fault
    {JobState::kRunning, JobState::kDone},          // every rank finished
    {JobState::kDraining, JobState::kQueued},       // ranks gone, to be placed again
    {JobState::kDraining, JobState::kCancelled},    // ranks gone, on request
    {JobState::kDraining, JobState::kRecovering},   // fault, deadline of the drain
    {JobState::kDraining, JobState::kDone},         // every rank finished before it heard
    {JobState::kRecovering, JobState::kPlaced},     // ranks gone, the next generation has its own
    {JobState::kRecovering, JobState::kDraining},   // cancel while ranks are still being ended
    {JobState::kRecovering, JobState::kCancelled},  // cancel, ranks gone
    {JobState::kRecovering, JobState::kFailed},     // ranks gone, restarts without progress used up
};

template <typename Enum, int kCount>
std::optional<Enum> Find(const char* const (&names)[kCount], std::string_view name) {
  for (int i = 0; i < kCount; ++i)
    if (name == names[i]) return static_cast<Enum>(i);
  return std::nullopt;
}

}  // namespace

const char* Name(JobState state) { return kStateNames[static_cast<int>(state)]; }
const char* Name(Intent intent) { return kIntentNames[static_cast<int>(intent)]; }
std::optional<JobState> JobStateOf(std::string_view name) { return Find<JobState>(kStateNames, name); }
std::optional<Intent> IntentOf(std::string_view name) { return Find<Intent>(kIntentNames, name); }

bool CanMove(JobState from, JobState to) {
  for (const Move& move : kMoves)
    if (move.from == from && move.to == to) return true;
  return false;
}

bool Ended(JobState state) {
  return state == JobState::kDone || state == JobState::kFailed || state == JobState::kCancelled;
}

}  // namespace filigree::coordinator
