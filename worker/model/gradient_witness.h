#ifndef FILIGREE_WORKER_MODEL_GRADIENT_WITNESS_H_
#define FILIGREE_WORKER_MODEL_GRADIENT_WITNESS_H_

#include <cstdint>
#include <span>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "worker/model/registry.h"

namespace filigree::model {

// Sees the factors of every matrix's gradient dW[o, i] = sum over tokens of dy[o, t] x[i, t], shard by shard, whether
// or not the gradient itself is ever formed: for choosing where candidates should lie.
//
// Threads: called from one thread, between passes; may use the pool. Shards come in order.
class GradientWitness {
 public:
  virtual ~GradientWitness() = default;

  // dy: tiles of [out][64], x: as many of [in][64]. Padding has dy = 0.
  virtual void Matrix(const TensorInfo& info, std::span<const kernels::ConstTile> dy,
                      std::span<const kernels::ConstTile> x, kernels::ThreadPool& pool) = 0;
  // A table whose rows are tokens, dW[v, c] = sum over tokens t that are v of dx[c, t]: tokens[n] are the rows of tile
  // n's 64 tokens, negative for padding.
  virtual void Table(const TensorInfo& info, std::span<const kernels::ConstTile> dx,
                     std::span<const int32_t* const> tokens, kernels::ThreadPool& pool) = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_GRADIENT_WITNESS_H_
