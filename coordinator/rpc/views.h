#ifndef FILIGREE_COORDINATOR_RPC_VIEWS_H_
#define FILIGREE_COORDINATOR_RPC_VIEWS_H_

#include <cstdint>

#include "coordinator/core/core.h"
#include "coordinator/rpc/from_wire.h"
#include "filigree/v1/coordinator.pb.h"

// What users see of the core's tables and memory. Called by the thread that owns the core.

namespace filigree::coordinator {

// What ranks of the row's generation have said; null: nothing.
const JobMemory* GenerationMemory(const Core& core, const JobRow& row);

// Everything about one job; what does not fit a message (reasons of more than 64 ranks) is left out.
v1::Job ViewOfJob(const Core& core, const JobRow& row, int64_t now_us);

// How its ranks get on; empty of numbers where none runs.
v1::Progress ViewOfProgress(const Core& core, const JobRow& row, int64_t now_us);

v1::ListReply ListJobs(const Core& core, const ListQuery& query, int64_t now_us);
v1::ListWorkersReply ListWorkers(const Core& core, const ListWorkersQuery& query);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_VIEWS_H_
