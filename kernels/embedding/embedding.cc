#include "kernels/embedding/embedding.h"

namespace filigree::kernels {

void GatherRows(const float* table, const int32_t* token, GatherWrite mode, Tile x) {
  ref::GatherRows(table, token, mode, x);
}

void ScatterAddRows(ConstTile dx, const int32_t* token, int c_begin, int c_end, float* dtable) {
  ref::ScatterAddRows(dx, token, c_begin, c_end, dtable);
}

}  // namespace filigree::kernels
