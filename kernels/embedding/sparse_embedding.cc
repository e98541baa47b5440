#include "kernels/embedding/sparse_embedding.h"

namespace filigree::kernels {

void GatherSparseRows(const PatternView& table, const float* values, const int32_t* token, Tile x) {
  ref::GatherSparseRows(table, values, token, x);
}

void ScatterAddSparseRows(ConstTile dx, const int32_t* token, int row_begin, int row_end, const PatternView& table,
                          float* gradient) {
  ref::ScatterAddSparseRows(dx, token, row_begin, row_end, table, gradient);
}

}  // namespace filigree::kernels
