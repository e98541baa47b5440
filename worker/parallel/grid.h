#ifndef FILIGREE_WORKER_PARALLEL_GRID_H_
#define FILIGREE_WORKER_PARALLEL_GRID_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/config/settings.h"

// Which rank does what: ranks form a grid of data x tensor. Ranks of one tensor group are neighbours, so that a
// launcher that fills hosts one after another keeps them together.
//
//   rank = data_rank * tensor + tensor_rank

namespace filigree::parallel {

struct Grid {
  int data = 1, tensor = 1;

  int size() const { return data * tensor; }
  int data_rank(int rank) const { return rank / tensor; }
  int tensor_rank(int rank) const { return rank % tensor; }
};

// The grid that the settings ask for among `world` ranks; parallel.data 0 is what the world leaves. InvalidArgument
// where it does not fill the world or the model cannot be cut so: says which grids would fit.
absl::StatusOr<Grid> FitGrid(const config::Settings& settings, int world);

// The largest grid of at most `ranks` ranks with the tensor size of the settings, and with no more data-parallel ranks
// than they ask for: what goes on after a loss. 0 x tensor: there is none.
Grid LargestGrid(const config::Settings& settings, int ranks);

// A run of the logical shards of a step (train.shards), the leaves of the tree along which gradients are added.
struct LeafRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Those of a data-parallel rank: contiguous, nearly equal.
LeafRange LeavesOf(int64_t leaves, int data_rank, int data);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_GRID_H_
