#include "kernels/spmm/grouped.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace filigree::kernels {

void GroupOffsets::Build(const CsrView& w, int stripes, std::span<const int> bounds, ThreadPool& pool) {
  stripes_ = stripes;
  groups_ = static_cast<int>(bounds.size()) - 1;
  CHECK(stripes >= 1 && groups_ >= 1 && w.cols % stripes == 0, "{} columns in {} stripes of {} groups", w.cols, stripes,
        groups_);
  const int stripe = w.cols / stripes;
  CHECK(bounds.front() == 0 && bounds.back() == stripe, "groups of [{}, {}) in a stripe of {} columns", bounds.front(),
        bounds.back(), stripe);
  const int64_t runs = int64_t{1} * stripes * groups_;
  const auto size = static_cast<size_t>(w.rows * runs + 1);
  if (offsets_.size() < size) offsets_ = Buffer<uint32_t>(size);
  const int parts = pool.threads() == 1 ? 1 : 4 * pool.threads();
  pool.Run(parts, [&](int64_t part, int) {
    const int end = static_cast<int>(w.rows * (part + 1) / parts);
    for (int r = static_cast<int>(w.rows * part / parts); r < end; ++r) {
      uint32_t* offset = offsets_.data() + r * runs;
      uint32_t e = w.row_offsets[r];
      for (int s = 0; s < stripes; ++s) {
        for (int g = 0; g < groups_; ++g) {
          *offset++ = e;
          const int last = s * stripe + bounds[g + 1];
          while (e < w.row_offsets[r + 1] && w.col_indices[e] < last) ++e;
        }
      }
    }
  });
  offsets_[w.rows * runs] = w.row_offsets[w.rows];
}

}  // namespace filigree::kernels
