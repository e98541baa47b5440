#include <bit>

#include "kernels/digest/digest.h"

namespace filigree::kernels::ref {

void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums) {
  for (int a = 0; a < count; ++a) {
    for (int64_t j = 0; j < n; ++j) {
      sums[a].Add(index + static_cast<uint32_t>(j), std::bit_cast<uint32_t>(arrays[a][j]));
    }
  }
}

void AddToDigests(const float* const* arrays, int count, const uint32_t* indices, int64_t n, Digest* sums) {
  for (int a = 0; a < count; ++a) {
    for (int64_t j = 0; j < n; ++j) sums[a].Add(indices[j], std::bit_cast<uint32_t>(arrays[a][j]));
  }
}

}  // namespace filigree::kernels::ref
