#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/base/check.h"

namespace filigree::kernels::ref {
namespace {

// Magnitudes ordered as integers: the bits of |x| sort like |x|, and NaN sorts above infinity.
uint32_t MagnitudeBits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

}  // namespace

void AbsTopK(ConstTile x, int k, Tile y, uint64_t* kept, float* /*guess*/) {
  CHECK(x.channels == y.channels, "x has {} channels, y {}", x.channels, y.channels);
  CHECK(1 <= k && k <= x.channels, "k = {} of {} channels", k, x.channels);
  std::fill_n(kept, x.channels, 0);

  std::vector<int> order(x.channels);
  for (int t = 0; t < kTileTokens; ++t) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return MagnitudeBits(x.at(a, t)) > MagnitudeBits(x.at(b, t)); });
    for (int rank = 0; rank < x.channels; ++rank) {
      const int c = order[rank];
      const bool keep = rank < k;
      y.at(c, t) = keep ? x.at(c, t) : 0.0f;
      if (keep) kept[c] |= uint64_t{1} << t;
    }
  }
}

void AbsTopKBackward(ConstTile dy, const uint64_t* kept, Tile dx) {
  CHECK(dy.channels == dx.channels, "dy has {} channels, dx {}", dy.channels, dx.channels);
  for (int c = 0; c < dy.channels; ++c) {
    for (int t = 0; t < kTileTokens; ++t) dx.at(c, t) = kept[c] >> t & 1 ? dy.at(c, t) : 0.0f;
  }
}

}  // namespace filigree::kernels::ref
