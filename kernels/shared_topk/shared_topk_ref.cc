#include <algorithm>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/shared_topk/shared_topk.h"
#include "kernels/weight_topk/entry.h"

namespace filigree::kernels::ref {
namespace {

// An entry of one of the matrices.
struct Place {
  int32_t bits;
  size_t matrix;
  int64_t entry;
};

// Keeps the `count` first of `places` in the order of selection.
void KeepLargest(std::vector<Place> places, int64_t count, std::span<uint64_t* const> kept) {
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.bits > b.bits; });
  for (int64_t i = 0; i < count; ++i) Keep(places[i].entry, kept[places[i].matrix]);
}

// The units of a matrix, each with its entries in order. One without any: none.
std::vector<std::vector<Place>> UnitsOf(const SharingMatrix& matrix, size_t m) {
  std::vector<std::vector<Place>> units(matrix.unit == Unit::kRow      ? matrix.rows
                                        : matrix.unit == Unit::kColumn ? matrix.cols
                                                                       : 0);
  if (units.empty()) return units;
  const auto add = [&](int64_t r, int64_t c, int64_t e) {
    units[matrix.unit == Unit::kRow ? r : c].push_back({MagnitudeBits(matrix.w[e]), m, e});
  };
  for (int64_t r = 0; r < matrix.rows; ++r) {
    if (matrix.pattern == nullptr) {
      for (int64_t c = 0; c < matrix.cols; ++c) add(r, c, r * matrix.cols + c);
      continue;
    }
    for (uint32_t e = matrix.pattern->row_offsets[r]; e < matrix.pattern->row_offsets[r + 1]; ++e) {
      add(r, matrix.pattern->col_indices[e], e);
    }
  }
  return units;
}

}  // namespace

void SelectSharing(std::span<const SharingMatrix> matrices, int64_t k, std::span<uint64_t* const> kept) {
  int64_t left = k;
  for (size_t m = 0; m < matrices.size(); ++m) {
    std::fill_n(kept[m], (matrices[m].entries() + 63) / 64, 0);
    for (const std::vector<Place>& unit : UnitsOf(matrices[m], m)) {
      const int64_t count = std::min<int64_t>(std::max(matrices[m].min_alive, 0), std::ssize(unit));
      KeepLargest(unit, count, kept);
      left -= count;
    }
  }
  std::vector<Place> rest;
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (int64_t e = 0; e < matrices[m].entries(); ++e) {
      if (!IsKept(kept[m], e)) rest.push_back({MagnitudeBits(matrices[m].w[e]), m, e});
    }
  }
  CHECK(0 <= left && left <= std::ssize(rest), "{} of {} entries beyond min alive", left, rest.size());
  KeepLargest(std::move(rest), left, kept);
}

}  // namespace filigree::kernels::ref
