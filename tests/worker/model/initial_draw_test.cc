#include "worker/model/initial_draw.h"

#include <bit>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/weight_topk.h"
#include "worker/model/arena.h"

namespace filigree::model {
namespace {

using kernels::PatternView;
using kernels::ThreadPool;
using kernels::Unit;

constexpr uint64_t kSeed = 42;

TensorInfo Info(int64_t rows, int64_t cols, Unit unit) {
  TensorInfo info;
  info.name = "transformer.h.0.mlp.c_fc.weight";
  info.shape = {rows, cols};
  info.rows = rows;
  info.cols = cols;
  info.unit = unit;
  info.init = Init::kNormal;
  info.init_scale = 0.02;
  return info;
}

// What SelectWeights keeps of a dense draw, against what was streamed.
void ExpectLargestOf(const std::vector<float>& dense, const TensorInfo& info, int64_t k, int min_alive,
                     const InitialDraw& drawn) {
  std::vector<uint64_t> kept((dense.size() + 63) / 64);
  const kernels::WeightSelection selection{info.rows, info.cols, k, min_alive, info.unit};
  kernels::ref::SelectWeights(dense.data(), selection, kept.data());
  const PatternView view = drawn.pattern.view();
  ASSERT_EQ(view.nnz(), k);
  ASSERT_TRUE(IsSound(view));
  for (int r = 0; r < view.rows; ++r) {
    for (uint32_t e = view.row_offsets[r]; e < view.row_offsets[r + 1]; ++e) {
      const int64_t i = int64_t{r} * view.cols + view.col_indices[e];
      ASSERT_TRUE(kept[i / 64] >> (i % 64) & 1) << "entry " << e << ", index " << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(drawn.values[e]), std::bit_cast<uint32_t>(dense[i]))
          << drawn.values[e] << ", " << dense[i];
    }
  }
}

std::vector<float> DenseDraw(const Registry& registry, const TensorInfo& info) {
  ThreadPool pool(2);
  Arena weights(registry);
  InitialiseWeights(registry, kSeed, pool, weights);
  return {weights.tensor(info), weights.tensor(info) + info.numel()};
}

// Odd sizes: more than one block and more than one piece, with ends.
ModelSpec Spec() {
  ModelSpec spec;
  spec.d_model = 131;
  spec.n_layer = 1;
  spec.n_head = 3;
  spec.d_head = 17;
  spec.d_mlp = 1031;
  spec.n_ctx = 70;
  spec.vocab = 301;
  spec.sink = spec.bigram = true;
  return spec;
}

class InitialDrawOf : public testing::TestWithParam<int> {};  // threads

TEST_P(InitialDrawOf, EveryTensorIsWhatSelectionKeepsOfTheDenseDraw) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const Registry registry(Spec());
  ThreadPool pool(GetParam());
  for (TensorInfo info : registry.tensors()) {
    const std::vector<float> dense = DenseDraw(registry, info);
    for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
      info.unit = unit;
      const int64_t units = unit == Unit::kNone ? 0 : unit == Unit::kRow ? info.rows : info.cols;
      for (const double density : {0.004, 0.06, 0.5, 0.9}) {
        for (const int min_alive : {0, 3}) {
          const auto k = static_cast<int64_t>(density * static_cast<double>(info.numel()));
          const int64_t length = units == 0 ? 0 : info.numel() / units;
          if (units * std::min<int64_t>(min_alive, length) > k) continue;
          SCOPED_TRACE(testing::Message() << info.name << ", unit " << static_cast<int>(unit) << ", k " << k
                                          << ", min alive " << min_alive);
          ExpectLargestOf(dense, info, k, min_alive, DrawLargest(info, kSeed, k, min_alive, pool));
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, InitialDrawOf, testing::Values(1, 2, 3));

// Nearly every entry is some unit's minimum: most units are drawn again.
TEST(InitialDraw, UnitsWithFewLargeEntriesAreDrawnAgain) {
  const Registry registry(Spec());
  ThreadPool pool(2);
  TensorInfo info = registry[registry.layer(0).c_fc];  // 1031 x 131
  const std::vector<float> dense = DenseDraw(registry, info);
  for (const Unit unit : {Unit::kRow, Unit::kColumn}) {
    info.unit = unit;
    const int64_t units = unit == Unit::kRow ? info.rows : info.cols;
    for (const int min_alive : {1, 3, 40, 131}) {
      const int64_t k = units * std::min<int64_t>(min_alive, info.numel() / units);
      for (const int64_t more : {int64_t{0}, int64_t{1}, units / 2}) {
        if (k + more > info.numel()) continue;
        SCOPED_TRACE(testing::Message() << "unit " << static_cast<int>(unit) << ", min alive " << min_alive << " and "
                                        << more);
        ExpectLargestOf(dense, info, k + more, min_alive, DrawLargest(info, kSeed, k + more, min_alive, pool));
      }
    }
  }
}

TEST(InitialDraw, OfNothingAndOfEverything) {
  const Registry registry(Spec());
  ThreadPool pool(2);
  const TensorInfo& info = registry[registry.layer(0).attn_c_proj];
  const std::vector<float> dense = DenseDraw(registry, info);
  ExpectLargestOf(dense, info, 0, 0, DrawLargest(info, kSeed, 0, 0, pool));
  ExpectLargestOf(dense, info, 1, 0, DrawLargest(info, kSeed, 1, 0, pool));
  ExpectLargestOf(dense, info, info.numel(), 4, DrawLargest(info, kSeed, info.numel(), 4, pool));
}

// A tensor whose dense draw would take a gigabyte: the entries found are as many and as large as the distribution says.
TEST(InitialDraw, OfALargeTensorHoldsTheTailOfTheDistribution) {
  const TensorInfo info = Info(16384, 16384, Unit::kRow);
  ThreadPool pool(2);
  const int64_t k = info.numel() / 1024;
  const InitialDraw drawn = DrawLargest(info, kSeed, k, 1, pool);
  ASSERT_EQ(drawn.pattern.nnz(), k);
  float least = 1;
  for (const float v : drawn.values) least = std::min(least, std::abs(v));
  // A row has 16 of them on average: in 16384 rows about one in e^-16 * 16384 = 0.002 has none. 2^-10 of N(0, 1) lies
  // beyond 3.2972, and k such draws know that point within 1e-4 of itself.
  EXPECT_NEAR(least / 0.02, 3.2972, 5e-3);
}

TEST(InitialDrawDeathTest, RefusesMinimaThatExceedTheCandidates) {
  ThreadPool pool(1);
  EXPECT_DEATH(DrawLargest(Info(10, 20, Unit::kRow), kSeed, 19, 2, pool), "20 entries at least, of 19 candidates");
}

}  // namespace
}  // namespace filigree::model
