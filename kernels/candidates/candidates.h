#ifndef FILIGREE_KERNELS_CANDIDATES_CANDIDATES_H_
#define FILIGREE_KERNELS_CANDIDATES_CANDIDATES_H_

#include <cstdint>
#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/candidates/entry_list.h"
#include "kernels/candidates/sampled.h"
#include "kernels/csr/csr.h"
#include "kernels/csr/pattern.h"

// A linear layer y = W x + b whose matrix exists on candidate positions only (active regime): the form to compute with,
// derived from the positions (every few steps) and from weights and mask (every step).
//
//   forward    y[o, t]  = b[o] + sum over kept e of row o, ascending:    w[e] * x[col e, t]
//   dX         dx[i, t] =        sum over kept e of column i, ascending: w[e] * dy[row e, t]
//   sampled dW dw[e]   += sum over t of dy[row e, t] * x[col e, t]       for every candidate, kept or not
//
// Shapes         W: [out][in]; x, dx: [in][64]; y, dy: [out][64]; b: out or null; w, gradients: one float a candidate.
// Ownership      copies what it needs: pattern, weights and bitmap may change afterwards.
// Threads        Set*: one call at a time; everything else is const and may be called from several threads.
// Determinism    bitwise, for any threads and any SIMD target, and equal to the reference: y and dx are those of
//                kernels/spmm on the kept entries; a tile's share of dw[e] is formed in 16 logical lanes (token % 16,
//                fused multiply-adds in ascending order of tokens, from 0), added as a tree whose distances are 1, 2,
//                4, 8, and then added to what dw[e] was.
// Source         Gao et al. 2025 has dense gradients only; the candidate set is this project's (docs/policy.md).

namespace filigree::kernels {

class CandidateMatrix {
 public:
  CandidateMatrix() = default;

  // Membership changed. Cost: a counting sort of the candidates.
  void SetPattern(const PatternView& pattern, ThreadPool& pool);
  // Weights or mask changed: w[nnz], kept a bitmap over the entries, null: all. Cost: a pass over the candidates.
  void SetWeights(const float* w, const uint64_t* kept, ThreadPool& pool);

  // x may be given as bf16: the same bits as with x widened, for fewer bytes.
  void Forward(ConstTile x, const float* bias, Tile y) const;
  void Forward(ConstBf16Tile x, const float* bias, Tile y) const;
  void Backward(ConstTile dy, Tile dx) const;
  // Backward, and partial[i] += the tile's share of the gradient of candidate i, in an order of this class's own, which
  // holds until the next SetPattern. dx.data null: the gradient alone.
  void BackwardWithGradient(ConstTile dy, ConstTile x, Tile dx, float* partial) const;
  void BackwardWithGradient(ConstTile dy, ConstBf16Tile x, Tile dx, float* partial) const;
  // gradient[e] = (add: +=) partials[0][e'] + partials[1][e'] + ..., summed in this order first: from that order to the
  // order of the entries.
  void SumPartials(std::span<const float* const> partials, bool add, float* gradient, ThreadPool& pool) const;

  // The kept entries of W and of its transpose, until the next Set*. Nothing is promised of what can be read past their
  // ends.
  CsrView rows() const { return {out_, in_, rows_.offsets.data(), rows_.indices.data(), rows_.values.data()}; }
  CsrView columns() const { return columns_.view(); }

  int out() const { return out_; }
  int in() const { return in_; }
  int64_t candidates() const { return candidates_; }
  // Bytes of the arrays. They are given up to a quarter more than they need, so as not to grow at every change; what
  // was never written of large ones takes no memory, and BytesOf leaves it out.
  size_t bytes() const;
  // What SetPattern and SetWeights write for [out][in] with so many candidates, so many of them kept, beforehand.
  static int64_t BytesOf(int64_t out, int64_t in, int64_t candidates, int64_t kept, int threads);

 private:
  template <typename Input>
  void BackwardOf(ConstTile dy, Input x, Tile dx, float* partial) const;

  int out_ = 0, in_ = 0;
  int64_t candidates_ = 0;
  Buffer<uint32_t> row_offsets_;  // the pattern
  Buffer<uint16_t> col_indices_;
  SampledOrder order_;  // of partial gradients
  EntryList rows_;      // the kept entries
  Csr columns_;         // and their transpose
};

namespace ref {

void CandidateForward(const PatternView& pattern, const float* w, const uint64_t* kept, ConstTile x, const float* bias,
                      Tile y);
void CandidateBackward(const PatternView& pattern, const float* w, const uint64_t* kept, ConstTile dy, Tile dx);
// dw in the order of the entries; one tile's share is added.
void CandidateGradient(const PatternView& pattern, ConstTile dy, ConstTile x, float* dw);

}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_CANDIDATES_H_
