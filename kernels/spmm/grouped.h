#ifndef FILIGREE_KERNELS_SPMM_GROUPED_H_
#define FILIGREE_KERNELS_SPMM_GROUPED_H_

#include <span>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/csr.h"

// Spmm whose sums are formed group by group of its columns, so that several processes can share them:
//
//   s[g]    = (bias[r], for the first group, or 0) + sum over entries e of row r in group g of values[e] * x[col e, t]
//   y[r, t] = s[first] + ... + s[first + count - 1]     along the tree of kernels/base/sum_tree.h
//
// Columns are cut into `stripes` equal runs (the rows of q, k and v in c_attn are three) and each of those at `bounds`:
// group g has the columns [bounds[g], bounds[g + 1]) of every stripe.
//
// Shapes         w: [rows][cols]; x: [cols][64]; y: [rows][64]; bias: rows or null (0).
// Writes         all of y; y may not overlap x.
// Determinism    bitwise, the same bits in ref, AVX2 and AVX-512: the entries of a group's stripe are cut into blocks
// of
//                kSpmmBlock as in Spmm, and the blocks of all stripes of a group added in ascending order. With one
//                group and one stripe y has the bits of Spmm.
// Cost           as Spmm, and an addition (of a row in L1) a group and row.

namespace filigree::kernels {

struct GroupedCsr {
  CsrView w;
  int stripes = 1, groups = 1;
  // Entries of row r, stripe s and group g begin at offsets[(r * stripes + s) * groups + g] and end where the next
  // begin.
  const uint32_t* offsets = nullptr;
};

// Where the groups of a matrix begin. Arrays are reused from one Build to the next.
class GroupOffsets {
 public:
  // bounds: groups + 1 columns, ascending from 0 to cols / stripes. Cost: one pass over the columns of w.
  void Build(const CsrView& w, int stripes, std::span<const int> bounds, ThreadPool& pool);
  // w: the matrix of the last Build, or one with the same entries.
  GroupedCsr View(const CsrView& w) const { return {w, stripes_, groups_, offsets_.data()}; }
  size_t bytes() const { return offsets_.size() * sizeof(uint32_t); }

 private:
  int stripes_ = 1, groups_ = 1;
  Buffer<uint32_t> offsets_;
};

void SpmmGroups(const GroupedCsr& w, int first, int count, ConstTile x, const float* bias, Tile y);

namespace ref {
void SpmmGroups(const GroupedCsr& w, int first, int count, ConstTile x, const float* bias, Tile y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SPMM_GROUPED_H_
