#include "kernels/gradcodec/feedback_topk.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/gradcodec/bf16.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;

template <typename Value>
struct Sent {
  std::vector<uint32_t> indices;
  std::vector<Value> values;
};

template <typename Value>
Sent<Value> Send(const std::vector<float>& gradient, int64_t k, std::vector<float>& residual,
                 WeightThreshold* threshold, int threads) {
  ThreadPool pool(threads);
  Sent<Value> sent = {std::vector<uint32_t>(k), std::vector<Value>(k)};
  std::vector<uint64_t> kept((gradient.size() + 63) / 64);
  TopWithFeedback(std::ssize(gradient), gradient.data(), k, residual.data(), threshold, pool, kept.data(),
                  sent.indices.data(), sent.values.data());
  return sent;
}

// By sorting.
Sent<float> SendPlainly(const std::vector<float>& gradient, int64_t k, std::vector<float>& residual) {
  std::vector<uint32_t> order(gradient.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < gradient.size(); ++i) residual[i] += gradient[i];
  const auto magnitude = [&](uint32_t i) { return std::bit_cast<uint32_t>(residual[i]) & 0x7fffffff; };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return magnitude(a) > magnitude(b); });
  order.resize(k);
  std::sort(order.begin(), order.end());
  Sent<float> sent;
  for (const uint32_t i : order) {
    sent.indices.push_back(i);           // NOLINT(performance-inefficient-vector-operation)
    sent.values.push_back(residual[i]);  // NOLINT(performance-inefficient-vector-operation)
    residual[i] = 0;
  }
  return sent;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(FeedbackTopK, SendsTheLargestOfWhatHasGathered) {
  Rng rng(/*seed=*/1);
  for (const int64_t n : {0, 1, 63, 64, 65, 1000, 200'003}) {
    for (const int64_t k : {int64_t{0}, n / 100, n / 3, n}) {
      std::vector<float> residual(n), plain(n), gradient(n);
      WeightThreshold threshold;
      for (int step = 0; step < (n > 1000 ? 2 : 4); ++step) {
        for (float& g : gradient) g = step % 2 ? rng.Normal() : std::round(2 * rng.Normal());
        const Sent<float> expected = SendPlainly(gradient, k, plain);
        const Sent<float> sent = Send<float>(gradient, k, residual, &threshold, 1 + step);
        ASSERT_EQ(sent.indices, expected.indices) << n << " " << k << " step " << step;
        ASSERT_TRUE(SameBits(sent.values, expected.values));
        ASSERT_TRUE(SameBits(residual, plain));
      }
    }
  }
}

TEST(FeedbackTopK, HasTheSameBitsInBothInstructionSets) {
  Rng rng(/*seed=*/2);
  std::vector<float> gradient(5003), wide(5003), narrow(5003);
  for (float& g : gradient) g = rng.Normal();
  const Sent<uint16_t> a = Send<uint16_t>(gradient, 200, wide, nullptr, 2);
  const testing_support::Avx2Only only;
  const Sent<uint16_t> b = Send<uint16_t>(gradient, 200, narrow, nullptr, 1);
  EXPECT_EQ(a.indices, b.indices);
  EXPECT_EQ(a.values, b.values);
  EXPECT_TRUE(SameBits(wide, narrow));
}

TEST(FeedbackTopK, InBf16TheRoundingStaysToo) {
  Rng rng(/*seed=*/3);
  std::vector<float> gradient(777), residual(777);
  for (float& g : gradient) g = rng.Normal();
  const Sent<uint16_t> sent = Send<uint16_t>(gradient, 100, residual, nullptr, 1);
  std::vector<float> arrived(777);
  for (size_t i = 0; i < sent.indices.size(); ++i) DecodeBf16(1, &sent.values[i], &arrived[sent.indices[i]]);
  for (size_t i = 0; i < gradient.size(); ++i) ASSERT_EQ(double{arrived[i]} + residual[i], gradient[i]);
}

TEST(FeedbackTopK, EverythingArrivesInTheEnd) {
  Rng rng(/*seed=*/4);
  const int64_t n = 1000;
  std::vector<float> residual(n), gradient(n);
  std::vector<double> truth(n), arrived(n);
  for (int step = 0; step < 60; ++step) {
    const bool quiet = step >= 40;  // no gradient any more, only what is left
    for (int64_t i = 0; i < n; ++i) gradient[i] = quiet ? 0 : std::round(64 * rng.Normal()) / 64;
    const Sent<float> sent = Send<float>(gradient, 50, residual, nullptr, 1);
    for (int64_t i = 0; i < n; ++i) truth[i] += gradient[i];
    for (size_t i = 0; i < sent.indices.size(); ++i) arrived[sent.indices[i]] += sent.values[i];
  }
  EXPECT_EQ(arrived, truth) << "sums of multiples of 1/64 are exact";
}

TEST(FeedbackTopK, WhatIsNoNumberIsSentAndForgotten) {
  std::vector<float> gradient(100, 1.0f), residual(100);
  gradient[70] = std::numeric_limits<float>::quiet_NaN();
  gradient[80] = -std::numeric_limits<float>::infinity();
  const Sent<uint16_t> sent = Send<uint16_t>(gradient, 3, residual, nullptr, 1);
  EXPECT_EQ(sent.indices, (std::vector<uint32_t>{0, 70, 80}));
  EXPECT_EQ(residual[70], 0.0f);
  EXPECT_EQ(residual[80], 0.0f);
}

}  // namespace
}  // namespace filigree::kernels
