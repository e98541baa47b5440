#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/sum_tree.h"
#include "kernels/spmm/grouped.h"
#include "kernels/spmm/spmm.h"

namespace filigree::kernels::ref {
namespace {

// One group's sum of row r and token t.
float GroupSum(const GroupedCsr& w, int r, int group, ConstTile x, int t, float start) {
  bool first = true;
  float total = start;
  for (int s = 0; s < w.stripes; ++s) {
    const uint32_t* offset = w.offsets + (size_t{1} * r * w.stripes + s) * w.groups + group;
    for (uint32_t block = offset[0]; block < offset[1]; block += kSpmmBlock) {
      float sum = first ? start : 0.0f;
      for (uint32_t e = block; e < std::min(block + kSpmmBlock, offset[1]); ++e) {
        sum = std::fma(w.w.values[e], x.at(w.w.col_indices[e], t), sum);
      }
      total = first ? sum : total + sum;
      first = false;
    }
  }
  return total;
}

}  // namespace

void SpmmGroups(const GroupedCsr& w, int first, int count, ConstTile x, const float* bias, Tile y) {
  std::vector<float> node(SumTree::MostNodes(count));
  const auto add = [&](int below, int top) { node[below] += node[top]; };
  for (int r = 0; r < w.w.rows; ++r) {
    for (int t = 0; t < kTileTokens; ++t) {
      SumTree tree;
      for (int g = first; g < first + count; ++g) {
        node[tree.depth()] = GroupSum(w, r, g, x, t, g == first && bias != nullptr ? bias[r] : 0.0f);
        tree.Push(1, add);
      }
      tree.Finish(add);
      y.at(r, t) = node[0];
    }
  }
}

}  // namespace filigree::kernels::ref
