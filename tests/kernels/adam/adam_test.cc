#include "kernels/adam/adam.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::Rng;

constexpr AdamStep kStep = {
    .lr = 0.0128f, .eps = 0.1f, .bias1 = 0.271f, .bias2 = 0.142625f, .gradient_scale = 0.37f, .decay = 0.999f};

struct State {
  State(int64_t n, uint64_t seed) : g(n), m(n), v(n), w(n) {
    Rng rng(seed);
    for (int64_t i = 0; i < n; ++i) {
      g[i] = rng.Normal();
      m[i] = 0.3f * rng.Normal();
      v[i] = rng.Normal() * rng.Normal();
      v[i] *= v[i];
      w[i] = rng.Normal();
    }
  }
  int64_t size() const { return static_cast<int64_t>(g.size()); }
  void Run(int64_t begin, int64_t end, const AdamStep& step = kStep) {
    Adam(step, end - begin, g.data() + begin, m.data() + begin, v.data() + begin, w.data() + begin);
  }
  bool operator==(const State& other) const { return m == other.m && v == other.v && w == other.w; }

  std::vector<float> g, m, v, w;
};

constexpr int64_t kSizes[] = {0, 1, 3, 7, 8, 15, 16, 17, 33, 1001};

TEST(Adam, HasTheReferencesBitsInBothInstructionSets) {
  for (const int64_t n : kSizes) {
    State fast(n, /*seed=*/1), plain(n, /*seed=*/1), narrow(n, /*seed=*/1);
    for (int step = 0; step < 3; ++step) {
      fast.Run(0, n);
      ref::Adam(kStep, n, plain.g.data(), plain.m.data(), plain.v.data(), plain.w.data());
      const Avx2Only only;
      narrow.Run(0, n);
    }
    EXPECT_TRUE(fast == plain) << n;
    EXPECT_TRUE(fast == narrow) << n;
  }
}

TEST(Adam, DoesNotDependOnHowATensorIsCut) {
  State whole(1001, /*seed=*/2), cut(1001, /*seed=*/2);
  whole.Run(0, 1001);
  cut.Run(0, 5);
  cut.Run(5, 400);
  cut.Run(400, 1001);
  EXPECT_TRUE(whole == cut);
}

TEST(Adam, IsTheFormulaInDouble) {
  State before(500, /*seed=*/3), after(500, /*seed=*/3);
  after.Run(0, 500);
  for (int i = 0; i < 500; ++i) {
    const double g = double{before.g[i]} * kStep.gradient_scale;
    const double m = before.m[i] + 0.1 * (g - before.m[i]), v = before.v[i] + 0.05 * (g * g - before.v[i]);
    const double update = kStep.lr * (m / kStep.bias1) / (std::sqrt(v / kStep.bias2) + kStep.eps);
    const double w = (before.w[i] - update) * kStep.decay;
    ASSERT_NEAR(after.m[i], m, 2e-7 * (std::abs(g) + std::abs(before.m[i])));
    ASSERT_NEAR(after.v[i], v, 2e-7 * (g * g + before.v[i]));
    ASSERT_NEAR(after.w[i], w, 2e-7 * std::abs(before.w[i]) + 1e-6 * kStep.lr * std::abs(g));
  }
}

// 1 - 0.9f is 2.4e-7 away from 0.1.
TEST(Adam, FormsOneMinusBetaInDouble) {
  State state(20, /*seed=*/4);
  for (int i = 0; i < 20; ++i) {
    state.g[i] = 1;
    state.m[i] = state.v[i] = 0;
  }
  state.Run(0, 20, {.lr = 0});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(state.m[i], 0.1f);
    EXPECT_EQ(state.v[i], 0.05f);
  }
}

TEST(Adam, LeavesWeightsWithoutGradientAlone) {
  State state(40, /*seed=*/5);
  for (int i = 0; i < 40; ++i) state.g[i] = state.m[i] = state.v[i] = 0;
  const std::vector<float> w = state.w;
  state.Run(0, 40, {.lr = 0.1f});
  EXPECT_EQ(state.w, w);
}

TEST(Adam, LetsANanThroughWhereItIs) {
  State state(33, /*seed=*/6);
  state.g[20] = std::nanf("");
  state.Run(0, 33);
  for (int i = 0; i < 33; ++i) {
    EXPECT_EQ(std::isnan(state.w[i]), i == 20);
    EXPECT_EQ(std::isnan(state.m[i]), i == 20);
    EXPECT_EQ(std::isnan(state.v[i]), i == 20);
  }
}

TEST(SumOfSquares, HasTheReferencesBitsInBothInstructionSets) {
  for (const int64_t n : kSizes) {
    const State state(n, /*seed=*/7);
    const double sum = SumOfSquares(state.g.data(), n);
    EXPECT_EQ(sum, ref::SumOfSquares(state.g.data(), n)) << n;
    const Avx2Only only;
    EXPECT_EQ(sum, SumOfSquares(state.g.data(), n)) << n;
  }
}

TEST(SumOfSquares, IsTheSum) {
  EXPECT_EQ(SumOfSquares(nullptr, 0), 0.0);
  const std::vector<float> g = {3, -4, 1e20f, 1e-20f};
  EXPECT_EQ(SumOfSquares(g.data(), 2), 25.0);
  EXPECT_NEAR(SumOfSquares(g.data(), 4), double{1e20f} * 1e20f, 1e25) << "no overflow where a float would";
  const std::vector<float> ones(100003, 1.0f);
  EXPECT_EQ(SumOfSquares(ones.data(), 100003), 100003.0);
}

TEST(AddInPlace, AddsAtAnySizeAndOffset) {
  for (const int64_t n : kSizes) {
    State fast(n + 1, /*seed=*/8), plain(n + 1, /*seed=*/8);
    AddInPlace(fast.g.data() + 1, n, fast.w.data() + 1);
    ref::AddInPlace(plain.g.data() + 1, n, plain.w.data() + 1);
    EXPECT_EQ(fast.w, plain.w) << n;
    const State before(n + 1, /*seed=*/8);
    for (int64_t i = 1; i <= n; ++i) ASSERT_EQ(fast.w[i], before.w[i] + before.g[i]);
    EXPECT_EQ(fast.w[0], before.w[0]);
  }
}

}  // namespace
}  // namespace filigree::kernels
