#ifndef FILIGREE_WORKER_MODEL_LINEAR_H_
#define FILIGREE_WORKER_MODEL_LINEAR_H_

#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/candidates/candidates.h"
#include "kernels/csr/csr.h"
#include "kernels/csr/pattern.h"
#include "kernels/spmm/grouped.h"

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
  int64_t nonzeros = 0, whole = 0;                   // of the whole matrix, if ranks share it: kept entries, and all
  const kernels::PatternView* candidates = nullptr;  // null: whole
  int64_t version = 0;                               // of the candidates
};

// Sums over inputs (Forward) or outputs (Backward) formed group by group: each of `stripes` equal runs of channels is
// cut at `bounds`. `pieces`: as how many subtrees of groups the sums are wanted, one unless ranks share them.
struct SumGroups {
  enum class Over { kNothing, kInputs, kOutputs };
  Over over = Over::kNothing;
  int stripes = 1;
  std::vector<int> bounds;
  std::vector<int> pieces;  // groups of each, ascending

  int groups() const { return static_cast<int>(bounds.size()) - 1; }
};

// A tile of inputs: floats, or where bf16.data is not null the same numbers as bf16, which is cheaper to read. With
// both whoever needs floats has them.
struct LinearInput {
  LinearInput(kernels::ConstTile x) : floats(x) {}
  LinearInput(kernels::Tile x) : floats(x) {}
  LinearInput(kernels::ConstTile x, kernels::ConstBf16Tile kept) : floats(x), bf16(kept) {}
  kernels::ConstTile floats;
  kernels::ConstBf16Tile bf16;
};

class Linear {
 public:
  Linear() = default;
  Linear(int out, int in, SumGroups groups = {});

  // Borrows w (where it is whole) and bias (null: 0) until the next call; copies what `kept` selects where the matrix
  // is sparse enough or exists on candidates only.
  void Set(const StoredMatrix& matrix, const float* bias, kernels::ThreadPool& pool);

  // x: [in][64], with floats; y: [out][64], overwritten.
  void Forward(const LinearInput& x, kernels::Tile y) const { ForwardPiece(0, x, y); }
  // dx = W^T dy, overwritten.
  void Backward(kernels::ConstTile dy, kernels::Tile dx) const { BackwardPiece(0, dy, dx); }

  // Subtrees of the sums over inputs, and over outputs; one where they are not shared. Their sum along the tree is y
  // (the first has the bias), or dx.
  int forward_pieces() const { return pieces_of(SumGroups::Over::kInputs); }
  int backward_pieces() const { return pieces_of(SumGroups::Over::kOutputs); }
  void ForwardPiece(int piece, const LinearInput& x, kernels::Tile y) const;
  void BackwardPiece(int piece, kernels::ConstTile dy, kernels::Tile dx) const;

  // Candidates of W, 0: it is whole. Then its gradient is formed tile by tile, with Backward or alone:
  // partial[candidates] += the tile's share, in an order of its own.
  int64_t candidates() const { return on_candidates_ ? sampled_.candidates() : 0; }
  bool on_candidates() const { return on_candidates_; }
  void BackwardWithGradient(kernels::ConstTile dy, const LinearInput& x, kernels::Tile dx, float* partial) const;
  void AddGradient(kernels::ConstTile dy, const LinearInput& x, float* partial) const;
  const kernels::CandidateMatrix& sampled() const { return sampled_; }

  int out() const { return out_; }
  int in() const { return in_; }
  // Is a whole matrix with so many entries, so many of them kept, compressed?
  static bool IsSparse(int64_t nonzeros, int64_t whole) {
    return static_cast<double>(nonzeros) <= kSparseDensity * static_cast<double>(whole);
  }
  // What Set writes of a matrix beforehand: with so many candidates (0: it is whole) and nonzeros (numel: no mask).
  // Borders of groups, which are small, are left out.
  static int64_t BytesOf(int64_t out, int64_t in, int64_t candidates, int64_t nonzeros, int threads);
  size_t bytes() const { return rows_.bytes() + columns_.bytes() + sampled_.bytes() + offsets_.bytes(); }

 private:
  int pieces_of(SumGroups::Over over) const {
    return groups_.over == over ? static_cast<int>(groups_.pieces.size()) : 1;
  }
  void SetCandidates(const StoredMatrix& matrix, kernels::ThreadPool& pool);
  kernels::CsrView Entries() const;
  void SumPiece(int piece, kernels::ConstTile x, const float* start, kernels::Tile y) const;
  void SumGroup(int group, kernels::ConstTile x, const float* start, kernels::Tile y) const;

  int out_ = 0, in_ = 0;
  SumGroups groups_;
  const float* w_ = nullptr;
  const float* bias_ = nullptr;
  bool sparse_ = false, on_candidates_ = false;
  kernels::Csr rows_, columns_;  // W and its transpose, where sparse_
  kernels::CandidateMatrix sampled_;
  kernels::GroupOffsets offsets_;  // of the side whose sums are grouped, where entries are listed
  int64_t version_ = -1;           // of the candidates in sampled_
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_LINEAR_H_
