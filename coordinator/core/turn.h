#ifndef FILIGREE_COORDINATOR_CORE_TURN_H_
#define FILIGREE_COORDINATOR_CORE_TURN_H_

#include <string>
#include <vector>

#include "coordinator/core/clock.h"
#include "coordinator/core/events.h"
#include "coordinator/core/memory.h"
#include "coordinator/core/options.h"
#include "coordinator/tables/draft.h"

namespace filigree::coordinator {

// One decision while it is made: what it reads, what it changes, what it says.
struct Turn {
  const Options& options;
  Now now;
  Memory& memory;
  Draft draft;
  std::vector<Event> events = {};
  bool look_again = false;  // slots or jobs may have appeared that no row of this decision shows

  JobMemory& MemoryOf(const std::string& job) { return memory.Of(draft.Job(job)); }
};

// The only way a job changes its state. CHECK: the move is not in the table of job_state.h. Ends are stamped, `intent`
// is kept while draining and cleared otherwise.
void MoveJob(Turn& turn, const std::string& job, JobState to, const std::string& reason, Intent intent = Intent::kNone);

Event& Say(Turn& turn, EventKind kind, const std::string& text);

// Text that came from outside, for a row and for people: one line, printable, at most 500 bytes.
std::string OneLine(const std::string& text);

// "rank 3 on worker a".
std::string RankName(const JobRow& row, int32_t rank);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_TURN_H_
