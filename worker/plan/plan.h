#ifndef FILIGREE_WORKER_PLAN_PLAN_H_
#define FILIGREE_WORKER_PLAN_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/config/settings.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"
#include "worker/plan/traffic.h"
#include "worker/train/memory.h"

// A run with some number of ranks, laid out before any of them is started: who sits where and owns what, what each
// needs and moves. Nothing the size of the model is allocated.

namespace filigree::plan {

// One rank. Hosts and slots are counted as mpirun fills them by default: host 0 first.
struct RankPlan {
  int rank = 0, host = 0, slot = 0;
  int data_rank = 0, tensor_rank = 0;
  parallel::LeafRange leaves;       // of the train.shards logical shards
  int64_t sequences = 0;            // of a batch, in those shards
  int first_group = 0, groups = 0;  // of the model.tensor_groups
  train::RunMemory memory;
  std::vector<TrafficPart> traffic;
};

struct RunPlan {
  parallel::Grid grid;
  int ranks_per_host = 1;
  std::vector<RankPlan> ranks;
  int64_t elements = 0;          // that exist at the first step
  int64_t dense_equivalent = 0;  // bytes a rank would send (traffic.h)
  bool even_share = false;       // the traffic of a single rank is not exact (traffic.h)
  int64_t available = 0;         // bytes of memory of a host
  absl::Status fits;             // InvalidArgument: the host with the most to hold, and what would fit
};

struct PlanOptions {
  int ranks = 0;           // 0: parallel.data x parallel.tensor, each at least 1
  int ranks_per_host = 0;  // 0: all on one
  int64_t available = 0;   // bytes of memory that a host has
  int64_t from = 0;        // step that the run goes on with: of memory, what it needs from there
};

// InvalidArgument where no grid of so many ranks fits the settings. What does not fit into memory is no error: see
// `fits`.
absl::StatusOr<RunPlan> PlanRun(const model::ModelSpec& spec, const config::Settings& settings,
                                const PlanOptions& options);

}  // namespace filigree::plan

#endif  // FILIGREE_WORKER_PLAN_PLAN_H_
