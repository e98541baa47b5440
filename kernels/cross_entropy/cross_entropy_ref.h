#ifndef FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_REF_H_
#define FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_REF_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/base/check.h"
#include "kernels/base/tile.h"

// The reference of cross_entropy.h for logits of any floating-point type, with all sums and functions in double: float
// is what kernels are measured against, double is what tests differentiate numerically.

namespace filigree::kernels::ref {

inline void CheckTargets(const int32_t* target, int vocab) {
  CHECK(vocab >= 1);
  for (int t = 0; t < kTileTokens; ++t) CHECK(target[t] < vocab, "target {} of a vocabulary of {}", target[t], vocab);
}

// log(sum over c of exp(x[c])) of one column, and its maximum.
struct LogSumExp {
  double max = 0, log_sum = 0;  // log_sum: of exp(x - max)
};

template <typename T>
LogSumExp LogSumExpOf(const T* column, int vocab) {
  LogSumExp out;
  out.max = column[0];
  for (int c = 1; c < vocab; ++c) out.max = std::max<double>(out.max, column[static_cast<size_t>(c) * kTileTokens]);
  double sum = 0;
  for (int c = 0; c < vocab; ++c) sum += std::exp(column[static_cast<size_t>(c) * kTileTokens] - out.max);
  out.log_sum = std::log(sum);
  return out;
}

template <typename T>
void CrossEntropyLossIn(const T* logits, int vocab, const int32_t* target, T* loss) {
  for (int t = 0; t < kTileTokens; ++t) {
    loss[t] = 0;
    if (target[t] < 0) continue;
    const LogSumExp all = LogSumExpOf(logits + t, vocab);
    loss[t] = static_cast<T>(all.log_sum + (all.max - logits[static_cast<size_t>(target[t]) * kTileTokens + t]));
  }
}

template <typename T>
void CrossEntropyGradientIn(T* logits, int vocab, const int32_t* target, double scale, T* loss) {
  CrossEntropyLossIn(logits, vocab, target, loss);
  for (int t = 0; t < kTileTokens; ++t) {
    const LogSumExp all = LogSumExpOf(logits + t, vocab);
    for (int c = 0; c < vocab; ++c) {
      T& x = logits[static_cast<size_t>(c) * kTileTokens + t];
      const double softmax = std::exp(x - all.max - all.log_sum);
      x = target[t] < 0 ? T{0} : static_cast<T>(scale * (softmax - (c == target[t] ? 1.0 : 0.0)));
    }
  }
}

}  // namespace filigree::kernels::ref

#endif  // FILIGREE_KERNELS_CROSS_ENTROPY_CROSS_ENTROPY_REF_H_
