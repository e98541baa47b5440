#ifndef FILIGREE_KERNELS_RMS_NORM_RMS_NORM_REF_H_
#define FILIGREE_KERNELS_RMS_NORM_RMS_NORM_REF_H_

#include <array>
#include <cfloat>
#include <cmath>
#include <cstddef>

#include "kernels/base/tile.h"

// The reference of rms_norm.h for any floating-point type: float is what the kernels must equal bit for bit, double is
// what tests differentiate numerically. Arrays as in rms_norm.h, row c of a tile at offset c * 64.

namespace filigree::kernels::ref {

// Channel c goes to accumulator c % 4.
template <typename T>
T AddAccumulators(const std::array<T, 4>& sum) {
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// A sum over tokens in 16 logical lanes and a tree (kernels/base/simd.h).
template <typename T>
T AddLanes(std::array<T, 16> lane) {
  for (int distance = 8; distance >= 1; distance /= 2) {
    for (int i = 0; i < distance; ++i) lane[i] += lane[i + distance];
  }
  return lane[0];
}

template <typename T>
void RmsNormForwardIn(const T* x, int channels, const T* gain, T* y, T* r) {
  for (int t = 0; t < kTileTokens; ++t) {
    std::array<double, 4> sum = {};
    for (int c = 0; c < channels; ++c) {
      const double value = x[static_cast<size_t>(c) * kTileTokens + t];
      sum[c % 4] = std::fma(value, value, sum[c % 4]);
    }
    const double mean = AddAccumulators(sum) / channels;
    r[t] = static_cast<T>(1.0 / std::sqrt(mean + double{FLT_EPSILON}));
    for (int c = 0; c < channels; ++c) {
      const size_t i = static_cast<size_t>(c) * kTileTokens + t;
      y[i] = x[i] * r[t] * gain[c];
    }
  }
}

template <typename T>
void RmsNormBackwardIn(const T* dy, const T* x, int channels, const T* gain, const T* r, T* dx, T* dgain) {
  for (int c = 0; c < channels; ++c) {
    std::array<T, 16> lane = {};
    for (int t = 0; t < kTileTokens; ++t) {
      const size_t i = static_cast<size_t>(c) * kTileTokens + t;
      lane[t % 16] = std::fma(dy[i] * x[i], r[t], lane[t % 16]);
    }
    dgain[c] += AddLanes(lane);
  }
  for (int t = 0; t < kTileTokens; ++t) {
    std::array<T, 4> sum = {};
    for (int c = 0; c < channels; ++c) {
      const size_t i = static_cast<size_t>(c) * kTileTokens + t;
      sum[c % 4] = std::fma(dy[i] * x[i], gain[c], sum[c % 4]);
    }
    const T shared = AddAccumulators(sum) / static_cast<T>(channels) * (r[t] * r[t] * r[t]);
    for (int c = 0; c < channels; ++c) {
      const size_t i = static_cast<size_t>(c) * kTileTokens + t;
      dx[i] += std::fma(-x[i], shared, r[t] * gain[c] * dy[i]);
    }
  }
}

}  // namespace filigree::kernels::ref

#endif  // FILIGREE_KERNELS_RMS_NORM_RMS_NORM_REF_H_
