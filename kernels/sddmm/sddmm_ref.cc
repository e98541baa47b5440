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

void BiasGradient(const SddmmInput& input, SddmmWrite mode, float* db) {
  for (int o = 0; o < input.out; ++o) {
    float lane[16] = {};
    for (int n = 0; n < input.tiles; ++n) {
      const float* dy = input.dy + n * input.dy_stride + size_t{kTileTokens} * o;
      for (int t = 0; t < kTileTokens; ++t) lane[t % 16] += dy[t];
    }
    for (int distance = 8; distance >= 1; distance /= 2) {
      for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
    }
    db[o] = mode == SddmmWrite::kAdd ? db[o] + lane[0] : lane[0];
  }
}

}  // namespace filigree::kernels::ref
