#ifndef FILIGREE_KERNELS_EMBEDDING_EMBEDDING_H_
#define FILIGREE_KERNELS_EMBEDDING_EMBEDDING_H_

#include <cstdint>

#include "kernels/base/tile.h"

// Rows of a table, gathered into the columns of a tile, and their gradient. Serves token embeddings (wte), the bigram
// table (a row of logits for each token) and concatenated positions.
//
//   gather      x[c, t] = table[token[t], c]         (kOverwrite)   or   x[c, t] += table[token[t], c]   (kAdd)
//   scatter     dtable[token[t], c] += dx[c, t]      for c in [c_begin, c_end), tokens t ascending
//
// Shapes         table: [rows][C] row-major; x, dx: [C][64]; token: 64 entries in [0, rows), or negative for padding,
//                which gathers zeros (kOverwrite) or nothing (kAdd) and scatters nothing.
// Determinism    scatter adds in ascending order of t; callers give tiles in ascending order and share channels, never
//                tokens, among threads.

namespace filigree::kernels {

enum class GatherWrite { kOverwrite, kAdd };

void GatherRows(const float* table, const int32_t* token, GatherWrite mode, Tile x);
void ScatterAddRows(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable);

namespace ref {
void GatherRows(const float* table, const int32_t* token, GatherWrite mode, Tile x);
void ScatterAddRows(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_EMBEDDING_EMBEDDING_H_
