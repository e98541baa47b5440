#ifndef FILIGREE_KERNELS_ATTENTION_ATTENTION_REF_H_
#define FILIGREE_KERNELS_ATTENTION_ATTENTION_REF_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

// The reference of attention.h for any floating-point type, as plain loops: float is the yardstick of the kernels'
// accuracy, double is the truth and what tests differentiate numerically.
//
// Arrays are row-major, [tokens][channels], without tiles, padding or kept bits: those belong to attention_ref.cc.

namespace filigree::kernels::ref {

template <typename T>
struct AttentionHead {
  int tokens = 0, channels = 0;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  const T* sink = nullptr;  // one value or null

  T Scale() const { return T{1} / std::sqrt(static_cast<T>(channels)); }
};

template <typename T>
T DotOf(const T* a, const T* b, int n) {
  T sum = 0;
  for (int c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}

// Row i of the attention matrix before normalisation: exp(s[i, j] - max) for j <= i; the sum includes the sink.
template <typename T>
struct AttentionRow {
  std::vector<T> weight;
  T max = 0, sum = 0;
};

template <typename T>
AttentionRow<T> AttentionRowOf(const AttentionHead<T>& head, int i) {
  const size_t K = head.channels;
  AttentionRow<T> row;
  row.weight.resize(i + 1);
  row.max = head.sink != nullptr ? *head.sink : std::numeric_limits<T>::lowest();
  for (int j = 0; j <= i; ++j) {
    row.weight[j] = DotOf(head.q + i * K, head.k + j * K, head.channels) * head.Scale();
    row.max = std::max(row.max, row.weight[j]);
  }
  if (head.sink != nullptr) row.sum = std::exp(*head.sink - row.max);
  for (T& weight : row.weight) {
    weight = std::exp(weight - row.max);
    row.sum += weight;
  }
  return row;
}

template <typename T>
void AttentionForwardIn(const AttentionHead<T>& head, T* y, T* max, T* inverse_sum) {
  const size_t K = head.channels;
  std::fill(y, y + head.tokens * K, T{0});
  for (int i = 0; i < head.tokens; ++i) {
    const AttentionRow<T> row = AttentionRowOf(head, i);
    max[i] = row.max;
    inverse_sum[i] = T{1} / row.sum;
    for (int j = 0; j <= i; ++j) {
      const T p = row.weight[j] / row.sum;
      for (size_t c = 0; c < K; ++c) y[i * K + c] += p * head.v[j * K + c];
    }
  }
}

// Overwrites dq, dk, dv; adds to *dsink where there is a sink.
template <typename T>
void AttentionBackwardIn(const AttentionHead<T>& head, const T* y, const T* dy, T* dq, T* dk, T* dv, T* dsink) {
  const size_t K = head.channels;
  for (T* gradient : {dq, dk, dv}) std::fill(gradient, gradient + head.tokens * K, T{0});
  for (int i = 0; i < head.tokens; ++i) {
    const AttentionRow<T> row = AttentionRowOf(head, i);
    const T* dy_i = dy + i * K;
    const T delta = DotOf(y + i * K, dy_i, head.channels);
    if (head.sink != nullptr && dsink != nullptr) *dsink -= std::exp(*head.sink - row.max) / row.sum * delta;
    for (int j = 0; j <= i; ++j) {
      const T p = row.weight[j] / row.sum;
      const T ds = p * (DotOf(dy_i, head.v + j * K, head.channels) - delta) * head.Scale();
      for (size_t c = 0; c < K; ++c) {
        dv[j * K + c] += p * dy_i[c];
        dq[i * K + c] += ds * head.k[j * K + c];
        dk[j * K + c] += ds * head.q[i * K + c];
      }
    }
  }
}

}  // namespace filigree::kernels::ref

#endif  // FILIGREE_KERNELS_ATTENTION_ATTENTION_REF_H_
