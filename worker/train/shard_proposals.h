#ifndef FILIGREE_WORKER_TRAIN_SHARD_PROPOSALS_H_
#define FILIGREE_WORKER_TRAIN_SHARD_PROPOSALS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/pattern.h"

// The newcomers that one logical shard proposes for a matrix on candidates: positions found by sampled votes
// (worker/mask/wedge.h) that are no candidates, with the shard's exact gradient there, sum over its tokens of dy x.
//
// Determinism    bitwise, for any number of threads: a function of the tiles, the candidates, seed, stream and step.
// Cost           `samples` draws, and the gradient of the positions drawn, each of them once.

namespace filigree::train {

struct ShardProposals {
  std::vector<uint32_t> positions;  // row * cols + column, ascending
  std::vector<float> scores;
};

struct ShardFactors {
  std::span<const kernels::ConstTile> dy, x;  // of all tokens of the shard
  kernels::PatternView candidates;
  int64_t samples = 0;
  uint64_t seed = 0, stream = 0;
  int64_t step = 0;  // another one for every shard of every step
};

ShardProposals ProposeNewcomers(const ShardFactors& shard, kernels::ThreadPool& pool);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_SHARD_PROPOSALS_H_
