#ifndef FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_
#define FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "worker/model/gradient_witness.h"
#include "worker/model/registry.h"

// How large the two factors of every matrix's gradient dW = sum over tokens of dy x^T are, channel by channel:
//
//   rows(o)    = sum over tokens of dy[o, t]^2         columns(i) = sum over tokens of x[i, t]^2
//
// sqrt(rows(o) * columns(i)) bounds |dW[o, i]| (Cauchy and Schwarz) and needs no dense gradient: where newcomers of a
// candidate set are worth a try. For wte, whose gradient gathers tokens, rows(v) sums over the tokens v and columns(c)
// over all.
//
// Sums are those of kernels/sddmm/channel_squares.h, tiles ascending, and run on from call to call until Clear: the
// same bits for any number of threads.

namespace filigree::model {

class ChannelNorms : public GradientWitness {
 public:
  // Takes one tile in `stride`, at alternating places of a sequence: enough to tell large channels from small ones. Of
  // fewer tiles than that it takes one.
  explicit ChannelNorms(const Registry& registry, int stride = 1);

  // From here on sums are 0 and the places that are taken are shifted by `phase` tiles.
  void Clear(uint64_t phase = 0);
  void Matrix(const TensorInfo& info, std::span<const kernels::ConstTile> dy, std::span<const kernels::ConstTile> x,
              kernels::ThreadPool& pool) override;
  void Table(const TensorInfo& info, std::span<const kernels::ConstTile> dx, std::span<const int32_t* const> tokens,
             kernels::ThreadPool& pool) override;

  // Empty for a tensor that nothing was added to.
  const std::vector<double>& rows(int tensor) const { return sums_[tensor].rows; }
  const std::vector<double>& columns(int tensor) const { return sums_[tensor].columns; }

 private:
  struct Sums {
    std::vector<double> rows, columns;
  };
  Sums& SumsOf(const TensorInfo& info);
  bool Takes(size_t tile, size_t tiles) const;
  std::vector<kernels::ConstTile> Taken(std::span<const kernels::ConstTile> tiles) const;

  size_t stride_;
  uint64_t phase_ = 0;
  std::vector<Sums> sums_;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_CHANNEL_NORMS_H_
