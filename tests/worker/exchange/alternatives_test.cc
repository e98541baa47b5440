// Sums of gradients as others form them, against plain sums and their own definitions; nothing may be lost.

#include "worker/exchange/alternatives.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/rounded_sum.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;
using Gradients = std::vector<std::vector<float>>;  // of each rank

// Multiples of 1/64, whose sums are exact: ties among them are many.
Gradients Draw(int ranks, int64_t n, uint64_t seed, bool ties = true) {
  Gradients gradients;
  for (int r = 0; r < ranks; ++r) {
    Rng rng(seed * 100 + r);
    std::vector<float>& gradient = gradients.emplace_back(n);
    // Ranks differ in where their gradient is large, as parts of a batch do.
    for (int64_t i = 0; i < n; ++i) {
      const float value = rng.Normal() * (i % (7 + r) == 0 ? 512.0f : 64.0f);
      gradient[i] = (ties ? std::round(value) : value) / 64;
    }
  }
  return gradients;
}

using MakeSum = std::function<std::unique_ptr<GradientSum>(comm::Communicator&, kernels::ThreadPool&)>;

struct Outcome {
  std::vector<float> sum;              // of the last step, the same on every rank
  std::vector<double> arrived;         // of all steps
  Gradients residuals;                 // of each rank, after the last step
  std::vector<comm::Traffic> traffic;  // of each rank, of the last step
};

// steps[s][r]: gradients. Every rank's sum must have the same bits.
Outcome RunSteps(const std::vector<Gradients>& steps, const MakeSum& make) {
  const auto ranks = static_cast<int>(steps[0].size());
  const size_t n = steps[0][0].size();
  std::vector<std::vector<std::vector<float>>> sums(ranks);
  Outcome outcome;
  outcome.residuals.resize(ranks);
  outcome.traffic.resize(ranks);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1 + comm.rank() % 2);
    const std::unique_ptr<GradientSum> sum = make(comm, pool);
    std::vector<float>& residual = outcome.residuals[comm.rank()];
    residual.resize(n);
    for (const Gradients& step : steps) {
      const comm::Traffic before = comm.traffic();
      std::vector<float> gradient = step[comm.rank()];
      const absl::Status status = sum->Sum(gradient, residual);
      ASSERT_TRUE(status.ok()) << status.ToString();
      outcome.traffic[comm.rank()] = comm.traffic() - before;
      sums[comm.rank()].push_back(std::move(gradient));
    }
  });
  outcome.arrived.resize(n);
  for (size_t s = 0; s < steps.size(); ++s) {
    for (int r = 0; r < ranks; ++r) EXPECT_EQ(sums[r][s], sums[0][s]) << "step " << s << ", rank " << r;
    for (size_t i = 0; i < n; ++i) outcome.arrived[i] += sums[0][s][i];
  }
  outcome.sum = sums[0].back();
  return outcome;
}

std::vector<double> PlainSum(const std::vector<Gradients>& steps) {
  std::vector<double> sum(steps[0][0].size());
  for (const Gradients& step : steps) {
    for (const std::vector<float>& gradient : step) {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
    }
  }
  return sum;
}

// Positions of the k largest, ties to the lower.
std::vector<int64_t> Largest(const std::vector<float>& values, int64_t k, const std::vector<int64_t>& among) {
  std::vector<int64_t> order = among;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return std::abs(values[a]) > std::abs(values[b]); });
  order.resize(std::min<size_t>(order.size(), k));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int64_t> All(int64_t n) {
  std::vector<int64_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// The definitions, step by step on one thread: returns the last sum, leaves the residuals.
std::vector<float> PlainTopK(const std::vector<Gradients>& steps, int64_t k, bool balanced, Gradients& residuals) {
  const auto n = std::ssize(steps[0][0]);
  residuals.assign(steps[0].size(), std::vector<float>(n));
  std::vector<float> sum;
  for (const Gradients& step : steps) {
    std::map<int64_t, float> sums;
    Gradients gave(step.size(), std::vector<float>(n));
    for (size_t r = 0; r < step.size(); ++r) {
      for (int64_t i = 0; i < n; ++i) residuals[r][i] += step[r][i];
      for (const int64_t i : Largest(residuals[r], k, All(n))) {
        sums[i] += residuals[r][i];
        gave[r][i] = residuals[r][i];
        residuals[r][i] = 0;
      }
    }
    sum.assign(n, 0);
    std::vector<int64_t> given;
    for (const auto& [i, value] : sums) {
      sum[i] = value;
      given.push_back(i);
    }
    if (!balanced) continue;
    std::vector<float> kept(n);
    for (const int64_t i : Largest(sum, k, given)) kept[i] = sum[i];
    const std::vector<int64_t> largest = Largest(sum, k, given);
    for (const int64_t i : given) {
      if (std::binary_search(largest.begin(), largest.end(), i)) continue;
      for (size_t r = 0; r < step.size(); ++r) residuals[r][i] += gave[r][i];
    }
    sum = kept;
  }
  return sum;
}

TEST(DenseSum, IsThePlainSum) {
  for (const int ranks : {1, 2, 3, 4}) {
    const std::vector<Gradients> steps = {Draw(ranks, 100'003, 1)};
    const Outcome outcome =
        RunSteps(steps, [](comm::Communicator& comm, kernels::ThreadPool&) { return DenseSum(comm); });
    EXPECT_EQ(outcome.arrived, PlainSum(steps)) << "sums of multiples of 1/64 are exact";
    if (ranks == 4) {
      for (const comm::Traffic& traffic : outcome.traffic) EXPECT_NEAR(traffic.sent_bytes, 2 * 3 * 100'003, 64);
    }
  }
}

// RoundedSum of one array.
class OneArray : public GradientSum {
 public:
  OneArray(comm::Communicator& data, kernels::ThreadPool& pool) : sum_(data, pool) {}
  absl::Status Sum(std::span<float> gradient, std::span<float> residual) override {
    const RoundedSum::Values values{gradient, residual};
    return sum_.Sum({&values, 1});
  }

 private:
  RoundedSum sum_;
};

MakeSum Rounding() {
  return [](comm::Communicator& comm, kernels::ThreadPool& pool) { return std::make_unique<OneArray>(comm, pool); };
}

TEST(RoundedSum, OfAnArrayDoesNotDependOnTheOthers) {
  constexpr int kRanks = 3;
  const Gradients gradients = Draw(kRanks, 1000, 80, /*ties=*/false);
  std::vector<std::vector<float>> sums(2 * kRanks);
  for (const size_t before : {0, 333}) {
    testing_support::RunRanks(kRanks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator comm(std::move(transport), {});
      kernels::ThreadPool pool(1);
      RoundedSum sum(comm, pool);
      std::vector<float> other(before, 1), other_residual(before), residual(1000), mine = gradients[comm.rank()];
      const std::vector<RoundedSum::Values> arrays = {{other, other_residual}, {mine, residual}};
      for (int step = 0; step < 2; ++step) {
        mine = gradients[comm.rank()];
        ASSERT_TRUE(sum.Sum(arrays).ok());
      }
      sums[(before > 0 ? kRanks : 0) + comm.rank()] = mine;
      EXPECT_EQ(other, std::vector<float>(before, 9));
    });
  }
  for (const std::vector<float>& sum : sums) EXPECT_EQ(sum, sums[0]);
}

TEST(RoundedSum, LosesNothing) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const int64_t n : {1, 15, 16, 777, 200'003}) {
      std::vector<Gradients> steps;
      for (uint64_t step = 0; step < 5; ++step) steps.push_back(Draw(ranks, n, 50 + step));
      Outcome outcome = RunSteps(steps, Rounding());
      double held = 0;
      for (const std::vector<float>& residual : outcome.residuals) {
        for (size_t i = 0; i < residual.size(); ++i) {
          outcome.arrived[i] += residual[i];
          held += std::abs(residual[i]);
        }
      }
      EXPECT_EQ(outcome.arrived, PlainSum(steps)) << ranks << " ranks; halves of bf16 are multiples of 1/64 as well";
      EXPECT_TRUE(n < 100 || held > 0) << "nothing was rounded";
    }
  }
}

// A value is rounded at most twice, by 2^-9 of itself or less: by who sends it and as part of the sum. What is held
// back from the step before is as small.
TEST(RoundedSum, IsNearThePlainSum) {
  for (const int ranks : {2, 3, 4}) {
    const std::vector<Gradients> steps = {Draw(ranks, 5000, 60, /*ties=*/false)};
    const Outcome outcome = RunSteps(steps, Rounding());
    const std::vector<double> plain = PlainSum(steps);
    for (size_t i = 0; i < plain.size(); ++i) {
      double sizes = std::abs(plain[i]);
      for (const std::vector<float>& gradient : steps[0]) sizes += std::abs(gradient[i]);
      ASSERT_NEAR(outcome.sum[i], plain[i], std::ldexp(sizes, -8)) << i;
    }
  }
}

TEST(RoundedSum, SendsHalfAsMuchAsARing) {
  for (const int ranks : {2, 4}) {
    const int64_t n = 100'000;
    const Outcome outcome = RunSteps({Draw(ranks, n, 70)}, Rounding());
    for (const comm::Traffic& traffic : outcome.traffic) {
      EXPECT_NEAR(static_cast<double>(traffic.sent_bytes), 2.0 * (ranks - 1) / ranks * 2 * n, 2 * ranks * 16 * 2);
    }
  }
}

MakeSum Sparse(bool balanced, int64_t n, int64_t k, WireValue wire) {
  return [=](comm::Communicator& comm, kernels::ThreadPool& pool) {
    return balanced ? BalancedTopKSum(comm, n, k, wire, pool) : TopKSum(comm, n, k, wire, pool);
  };
}

class SparseSum : public testing::TestWithParam<bool> {};

TEST_P(SparseSum, IsItsDefinition) {
  for (const int ranks : {1, 2, 3, 4}) {
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{1, 1}, {64, 0}, {65, 7}, {1003, 50}, {1003, 900}, {300, 300}}) {
      std::vector<Gradients> steps;
      for (uint64_t step = 0; step < 4; ++step) steps.push_back(Draw(ranks, n, 10 + step));
      Gradients residuals;
      const std::vector<float> expected = PlainTopK(steps, k, GetParam(), residuals);
      const Outcome outcome = RunSteps(steps, Sparse(GetParam(), n, k, WireValue::kFloat32));
      EXPECT_EQ(outcome.sum, expected) << ranks << " ranks, " << k << " of " << n;
      EXPECT_EQ(outcome.residuals, residuals) << ranks << " ranks, " << k << " of " << n;
    }
  }
}

TEST_P(SparseSum, OfEverythingIsThePlainSum) {
  for (const int ranks : {1, 2, 3, 4}) {
    const std::vector<Gradients> steps = {Draw(ranks, 500, 20)};
    EXPECT_EQ(RunSteps(steps, Sparse(GetParam(), 500, 500, WireValue::kFloat32)).arrived, PlainSum(steps));
  }
}

TEST_P(SparseSum, LosesNothing) {
  for (const WireValue wire : {WireValue::kFloat32, WireValue::kBf16}) {
    for (const int ranks : {1, 2, 3, 4}) {
      std::vector<Gradients> steps;
      for (uint64_t step = 0; step < 10; ++step) steps.push_back(Draw(ranks, 777, 30 + step));
      Outcome outcome = RunSteps(steps, Sparse(GetParam(), 777, 40, wire));
      for (const std::vector<float>& residual : outcome.residuals) {
        for (size_t i = 0; i < residual.size(); ++i) outcome.arrived[i] += residual[i];
      }
      EXPECT_EQ(outcome.arrived, PlainSum(steps)) << ranks << " ranks; halves of bf16 are multiples of 1/64 as well";
    }
  }
}

TEST_P(SparseSum, BytesAreThoseOfTheHeader) {
  const int64_t n = 1 << 18, k = n / 100;
  for (const WireValue wire : {WireValue::kFloat32, WireValue::kBf16}) {
    const double entry = (wire == WireValue::kBf16 ? 2 : 4) + (std::log2(100) + 1.5) / 8;
    for (const int ranks : {2, 4}) {
      // The same gradients again, so that the threshold is found where it was: its search costs little then.
      const Gradients same = Draw(ranks, n, 40, /*ties=*/false);
      const Outcome outcome = RunSteps(std::vector<Gradients>(8, same), Sparse(GetParam(), n, k, wire));
      double sent = 0;
      for (const comm::Traffic& traffic : outcome.traffic) sent += static_cast<double>(traffic.sent_bytes) / ranks;
      const double P = ranks, entries = GetParam() ? 2 * k * (P - 1) / P : (P - 1) * k;
      // Histograms that begin near the last threshold; with bf16 many entries are equal to it, whose positions are
      // searched.
      const double search = GetParam() ? (P - 1) * 4 * (wire == WireValue::kBf16 ? 2400 : 1100) : 0;
      std::printf("%s, %d ranks: %.0f bytes a rank, of entries alone %.0f\n", GetParam() ? "balanced" : "top-k", ranks,
                  sent, entries * entry);
      EXPECT_GT(sent, 0.9 * entries * entry);
      EXPECT_LT(sent, 1.06 * entries * entry + search + 1000);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, SparseSum, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) { return info.param ? "Balanced" : "TopK"; });

}  // namespace
}  // namespace filigree::exchange
