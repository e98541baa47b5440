#ifndef FILIGREE_WORKER_EXCHANGE_SLICES_H_
#define FILIGREE_WORKER_EXCHANGE_SLICES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

// Values that the ranks of a group divide among themselves: rank r owns [SliceBegin(r), SliceBegin(r + 1)), each as
// many as the others but for whole cache lines.

namespace filigree::exchange {

inline constexpr int64_t kSliceAlignment = 16;  // values: a slice begins on a cache line of floats

inline int64_t SliceBegin(int64_t values, int rank, int ranks) {
  const int64_t lines = (values + kSliceAlignment - 1) / kSliceAlignment;
  return std::min(values, lines * rank / ranks * kSliceAlignment);
}

inline std::vector<int64_t> SliceSizes(int64_t values, int ranks) {
  std::vector<int64_t> sizes(ranks);
  for (int r = 0; r < ranks; ++r) sizes[r] = SliceBegin(values, r + 1, ranks) - SliceBegin(values, r, ranks);
  return sizes;
}

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_SLICES_H_
