#include "kernels/sddmm/sddmm.h"

#include "kernels/base/check.h"

namespace filigree::kernels {

float* SddmmScratch::Floats(size_t n) {
  if (floats_.size() < n) floats_ = Buffer<float>(n);
  return floats_.data();
}

void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch& scratch) {
  CHECK(0 <= row_begin && row_begin <= row_end && row_end <= input.out, "rows [{}, {}) of {}", row_begin, row_end,
        input.out);
  ref::DenseWeightGradient(input, row_begin, row_end, mode, dw, scratch);
}

void BiasGradient(const SddmmInput& input, SddmmWrite mode, float* db) { ref::BiasGradient(input, mode, db); }

}  // namespace filigree::kernels
