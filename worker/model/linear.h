#ifndef FILIGREE_WORKER_MODEL_LINEAR_H_
#define FILIGREE_WORKER_MODEL_LINEAR_H_

#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/candidates/candidates.h"
#include "kernels/csr/csr.h"
#include "kernels/csr/pattern.h"

// One linear layer y = W x + b on token tiles. W is whole - computed dense or compressed, whichever is faster at its
// density - or exists on candidates only.

namespace filigree::model {

// Densities at and below this are computed sparse: there a nonzero's vectors from L2 cost less than three dense
// multiplications. Part of the arithmetic: the two ways round differently.
inline constexpr double kSparseDensity = 1.0 / 3;

// A matrix as it lies in an arena.
struct StoredMatrix {
  const float* w = nullptr;
  const uint64_t* kept = nullptr;                    // bitmap over the stored values, null: all
  int64_t nonzeros = 0;                              // its bits
  const kernels::PatternView* candidates = nullptr;  // null: whole
  int64_t version = 0;                               // of the candidates
};

class Linear {
 public:
  Linear() = default;
  Linear(int out, int in) : out_(out), in_(in) {}

  // Borrows w (where it is whole) and bias (null: 0) until the next call; copies what `kept` selects where the matrix
  // is sparse enough or exists on candidates only.
  void Set(const StoredMatrix& matrix, const float* bias, kernels::ThreadPool& pool);

  // x: [in][64], y: [out][64], overwritten.
  void Forward(kernels::ConstTile x, kernels::Tile y) const;
  // dx = W^T dy, overwritten.
  void Backward(kernels::ConstTile dy, kernels::Tile dx) const;

  // Candidates of W, 0: it is whole. Then the gradient by W is formed here, tile by tile: Backward, and
  // partial[candidates] += the tile's share of it, in an order of its own.
  int64_t candidates() const { return on_candidates_ ? sampled_.candidates() : 0; }
  bool on_candidates() const { return on_candidates_; }
  void BackwardWithGradient(kernels::ConstTile dy, kernels::ConstTile x, kernels::Tile dx, float* partial) const;
  const kernels::CandidateMatrix& sampled() const { return sampled_; }

  int out() const { return out_; }
  int in() const { return in_; }
  size_t bytes() const { return rows_.bytes() + columns_.bytes() + sampled_.bytes(); }

 private:
  void SetCandidates(const StoredMatrix& matrix, kernels::ThreadPool& pool);

  int out_ = 0, in_ = 0;
  const float* w_ = nullptr;
  const float* bias_ = nullptr;
  bool sparse_ = false, on_candidates_ = false;
  kernels::Csr rows_, columns_;  // W and its transpose, where sparse_
  kernels::CandidateMatrix sampled_;
  int64_t version_ = -1;  // of the candidates in sampled_
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_LINEAR_H_
