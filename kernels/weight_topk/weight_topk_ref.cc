#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/weight_topk/weight_topk.h"

namespace filigree::kernels::ref {
namespace {

// Magnitudes ordered as integers: the bits of |w| sort like |w|, and NaN sorts above infinity.
uint32_t MagnitudeBits(float w) { return std::bit_cast<uint32_t>(w) & 0x7fffffffu; }

// Sets the bits of the `count` first entries of `indices` in the order (|w| descending, index ascending).
void KeepLargest(const float* w, std::vector<int64_t> indices, int64_t count, uint64_t* kept) {
  std::sort(indices.begin(), indices.end(), [w](int64_t a, int64_t b) {
    const uint32_t bits_a = MagnitudeBits(w[a]), bits_b = MagnitudeBits(w[b]);
    return bits_a != bits_b ? bits_a > bits_b : a < b;
  });
  for (int64_t i = 0; i < count; ++i) kept[indices[i] / 64] |= uint64_t{1} << (indices[i] % 64);
}

}  // namespace

void SelectWeights(const float* w, const WeightSelection& selection, uint64_t* kept) {
  const auto& [rows, cols, k, min_alive, unit] = selection;
  const int64_t numel = rows * cols;
  CHECK(0 <= k && k <= numel, "k = {} of {} x {} entries", k, rows, cols);
  std::fill_n(kept, (numel + 63) / 64, 0);

  int64_t left = k;
  const int64_t units = unit == Unit::kRow ? rows : unit == Unit::kColumn ? cols : 0;
  const int64_t length = unit == Unit::kRow ? cols : rows;
  for (int64_t u = 0; u < units; ++u) {
    std::vector<int64_t> members(length);
    for (int64_t i = 0; i < length; ++i) members[i] = unit == Unit::kRow ? u * cols + i : i * cols + u;
    const int64_t count = std::min<int64_t>(min_alive, length);
    CHECK(count <= left, "min_alive = {} for {} units of {} entries asks for more than k = {}", min_alive, units,
          length, k);
    KeepLargest(w, members, count, kept);
    left -= count;
  }

  std::vector<int64_t> rest;
  for (int64_t i = 0; i < numel; ++i) {
    if (!(kept[i / 64] >> (i % 64) & 1)) rest.push_back(i);
  }
  KeepLargest(w, rest, left, kept);
}

void ApplySelection(const uint64_t* kept, int64_t numel, float factor, float* w) {
  for (int64_t i = 0; i < numel; ++i) w[i] = kept[i / 64] >> (i % 64) & 1 ? w[i] * factor : 0.0f;
}

}  // namespace filigree::kernels::ref
