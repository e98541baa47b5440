#ifndef FILIGREE_WORKER_EXCHANGE_SLICES_H_
#define FILIGREE_WORKER_EXCHANGE_SLICES_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

// Values that the ranks of a group divide among themselves: rank r owns [SliceBegin(r), SliceBegin(r + 1)), each as
// many as the others but for whole cache lines.

namespace filigree::exchange {

inline constexpr int64_t kSliceAlignment = 16;  // values: a slice begins on a cache line of floats

inline int64_t SliceBegin(int64_t values, int rank, int ranks) {
  const int64_t lines = (values + kSliceAlignment - 1) / kSliceAlignment;
  return std::min(values, lines * rank / ranks * kSliceAlignment);
}

// As many, up to the next cache line.
inline int64_t InWholeSlices(int64_t values) {
  return (values + kSliceAlignment - 1) / kSliceAlignment * kSliceAlignment;
}

inline std::vector<int64_t> SliceSizes(int64_t values, int ranks) {
  std::vector<int64_t> sizes(ranks);
  for (int r = 0; r < ranks; ++r) sizes[r] = SliceBegin(values, r + 1, ranks) - SliceBegin(values, r, ranks);
  return sizes;
}

// Of arrays that are cut one after another: each as evenly as SliceSizes cuts it, but in the end every rank has exactly
// the values that it was given `totals` for. So it does not matter for the bytes of a rank how many arrays there were.
class Shares {
 public:
  explicit Shares(std::vector<int64_t> totals) : left_(std::move(totals)) {}

  // Of the next array, no longer than what is left; one a rank.
  std::vector<int64_t> Take(int64_t values) {
    std::vector<int64_t> taken = SliceSizes(values, static_cast<int>(left_.size()));
    int64_t homeless = 0;
    for (size_t r = 0; r < taken.size(); ++r) {
      homeless += std::max<int64_t>(0, taken[r] - left_[r]);
      taken[r] = std::min(taken[r], left_[r]);
    }
    for (size_t r = 0; r < taken.size(); ++r) {
      const int64_t more = std::min(homeless, left_[r] - taken[r]);
      taken[r] += more;
      homeless -= more;
      left_[r] -= taken[r];
    }
    return taken;
  }

 private:
  std::vector<int64_t> left_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_SLICES_H_
