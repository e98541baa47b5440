#ifndef FILIGREE_COORDINATOR_CORE_MEMORY_H_
#define FILIGREE_COORDINATOR_CORE_MEMORY_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/leases.h"
#include "coordinator/core/mask_agreement.h"
#include "coordinator/core/telemetry.h"
#include "coordinator/tables/rows.h"

// What the core knows and does not promise: it is lost with the process, and heartbeats, reports and time bring it
// back. It is changed while a decision is made, kept or not; so no rule may hang on having seen something once. What
// must be done is derived anew from rows and memory every time, until the row that says it was done stands.

namespace filigree::coordinator {

// Of one job.
struct JobMemory {
  // Since when the job has been in this state and generation, as far as this process has seen.
  JobState state = JobState::kSubmitted;
  int64_t state_generation = -1;
  int64_t since_us = 0;
  // Since when there has been room for the waiting job on workers that have spoken; -1: there is none.
  int64_t room_since_us = -1;

  // Of the ranks of one generation.
  int64_t generation = -1;
  std::map<std::string, std::vector<int32_t>> ranks_of;  // by worker, ascending: a heartbeat costs its own ranks only
  std::vector<RankTelemetry> ranks;
  std::set<std::string> released;  // workers that were heard to run nothing of it while it was being ended
  MaskAgreement masks;
  std::set<int32_t> stragglers;
  int64_t compared_us = 0;  // when ranks were last looked through for stragglers
};

struct Memory {
  Leases leases;
  std::map<std::string, JobMemory> jobs;  // that have not ended

  // Masks since this process began, by job: for metrics.
  struct MaskCounts {
    int64_t agreed = 0, differed = 0;
  };
  std::map<std::string, MaskCounts> masks;

  // The memory of the row's generation; empty where it holds another one's.
  JobMemory& Of(const JobRow& row) {
    JobMemory& memory = jobs[row.id];
    if (memory.generation != row.generation) {
      memory.generation = row.generation;
      memory.ranks.assign(row.ranks.size(), {});
      memory.ranks_of.clear();
      for (size_t r = 0; r < row.ranks.size(); ++r)
        memory.ranks_of[row.ranks[r].worker].push_back(static_cast<int32_t>(r));
      memory.released.clear();
      memory.masks = row.spec ? MaskAgreement(row.data, row.spec->tensor) : MaskAgreement();
      memory.stragglers.clear();
      memory.compared_us = 0;
    }
    return memory;
  }
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_MEMORY_H_
