#ifndef FILIGREE_WORKER_MODEL_LINEAR_H_
#define FILIGREE_WORKER_MODEL_LINEAR_H_

#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/csr.h"

// One linear layer y = W x + b on token tiles, W dense or compressed, whichever is faster at its density.

namespace filigree::model {

// Densities at and below this are computed sparse: there a nonzero's vectors from L2 cost less than three dense
// multiplications. Part of the arithmetic: the two ways round differently.
inline constexpr double kSparseDensity = 1.0 / 3;

class Linear {
 public:
  Linear() = default;
  Linear(int out, int in) : out_(out), in_(in) {}

  // Borrows w and bias (null: 0) until the next call; copies what `kept` selects where the matrix is sparse enough.
  void Set(const float* w, const float* bias, const uint64_t* kept, int64_t nonzeros, kernels::ThreadPool& pool);

  // x: [in][64], y: [out][64], overwritten.
  void Forward(kernels::ConstTile x, kernels::Tile y) const;
  // dx = W^T dy, overwritten.
  void Backward(kernels::ConstTile dy, kernels::Tile dx) const;

  int out() const { return out_; }
  int in() const { return in_; }
  size_t bytes() const { return rows_.bytes() + columns_.bytes(); }

 private:
  int out_ = 0, in_ = 0;
  const float* w_ = nullptr;
  const float* bias_ = nullptr;
  bool sparse_ = false;
  kernels::Csr rows_, columns_;  // W and its transpose, where sparse_
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_LINEAR_H_
