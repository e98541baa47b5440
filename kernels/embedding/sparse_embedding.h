#ifndef FILIGREE_KERNELS_EMBEDDING_SPARSE_EMBEDDING_H_
#define FILIGREE_KERNELS_EMBEDDING_SPARSE_EMBEDDING_H_

#include <cstdint>

#include "kernels/base/tile.h"
#include "kernels/csr/pattern.h"

// Rows of a table that exists on candidates, gathered into the columns of a tile, and their gradient: the token
// embedding of the active regime.
//
//   gather      x[c, t] = values[e] where row token[t] has an entry e of column c, else 0
//   scatter     gradient[e] += dx[col e, t]    for entries e of row token[t], tokens t ascending, where that row lies
//   in
//                                              [row_begin, row_end)
//
// Shapes         table: [rows][cols]; values, gradient: one float an entry (values outside the mask are 0 and are
//                gathered as such); x, dx: [cols][64]; token: 64 entries in [0, rows), or negative for padding, which
//                gathers zeros and scatters nothing.
// Writes         gather overwrites all of x; scatter adds, to the rows that occur and no others.
// Determinism    an entry's sum is formed in ascending order of t; callers give tiles in ascending order and share
// rows,
//                never tokens, among threads.
// Cost           gather: x once, and the entries of 64 rows; scatter: the entries of the rows that occur. About 1.5 ns
// an
//                entry from L2: tokens one after the other, as blocks of channels that stay in L1 were slower.

namespace filigree::kernels {

void GatherSparseRows(const PatternView& table, const float* values, const int32_t* token, Tile x);
void ScatterAddSparseRows(ConstTile dx, const int32_t* token, int row_begin, int row_end, const PatternView& table,
                          float* gradient);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_EMBEDDING_SPARSE_EMBEDDING_H_
