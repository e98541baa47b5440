#ifndef FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_
#define FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_

#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/model/activations.h"
#include "worker/model/registry.h"

// How large the two factors of every matrix's gradient dW = sum over tokens of dy x^T are, channel by channel:
//
//   rows(o)    = sum over tokens of dy[o, t]^2         columns(i) = sum over tokens of x[i, t]^2
//
// sqrt(rows(o) * columns(i)) bounds |dW[o, i]| (Cauchy and Schwarz) and needs no dense gradient: where newcomers of a
// candidate set are worth a try. For wte, whose gradient gathers tokens, rows(v) sums over the tokens v and columns(c)
// over all.
//
// Sums are in double, tiles ascending, and run on from call to call until Clear: the same bits for any number of
// threads.

namespace filigree::model {

class ChannelNorms {
 public:
  explicit ChannelNorms(const Registry& registry);

  void Clear();
  // One shard's share of a matrix's sums, over its first `tiles` tiles.
  void Add(const TensorInfo& info, const TileBuffer& dy, const TileBuffer& x, int tiles, kernels::ThreadPool& pool);
  // The same for a table whose rows are tokens: tokens[n] are the 64 rows of tile n, negative for padding.
  void AddTable(const TensorInfo& info, const TileBuffer& dx, const std::vector<const int32_t*>& tokens,
                kernels::ThreadPool& pool);

  // Empty for a tensor that nothing was added to.
  const std::vector<double>& rows(int tensor) const { return sums_[tensor].rows; }
  const std::vector<double>& columns(int tensor) const { return sums_[tensor].columns; }

 private:
  struct Sums {
    std::vector<double> rows, columns;
  };
  Sums& SumsOf(const TensorInfo& info);

  std::vector<Sums> sums_;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_
