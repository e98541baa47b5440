#include <cmath>

#include "kernels/sddmm/sddmm.h"

namespace filigree::kernels::ref {

void DenseWeightGradient(const SddmmInput& input, int row_begin, int row_end, SddmmWrite mode, float* dw,
                         SddmmScratch&) {
  for (int o = row_begin; o < row_end; ++o) {
    for (int i = 0; i < input.in; ++i) {
      float sum = 0;
      for (int n = 0; n < input.tiles; ++n) {
        const float* dy = input.dy + n * input.dy_stride + size_t{kTileTokens} * o;
        const auto x = [&](int t) {
          return input.x_bf16 == nullptr
                     ? input.x[n * input.x_stride + size_t{kTileTokens} * i + t]
                     : Bf16At(input.x_bf16 + n * input.x_bf16_stride + size_t{kBf16RowWords} * i, t);
        };
        const uint64_t kept = input.kept == nullptr ? ~uint64_t{0} : input.kept[n * input.kept_stride + o];
        for (int t = 0; t < kTileTokens; ++t) {
          if (kept >> t & 1) sum = std::fma(dy[t], x(t), sum);
        }
      }
      float& to = dw[int64_t{o} * input.in + i];
      to = mode == SddmmWrite::kAdd ? to + sum : sum;
    }
  }
}

}  // namespace filigree::kernels::ref
