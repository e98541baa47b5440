// What a rank holds back stays with its entry, wherever that stands after a change of candidates.

#include "worker/exchange/residual.h"

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/csr/pattern.h"
#include "tests/support/tiles.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

constexpr int kRows = 13, kCols = 29;
constexpr int kMatrix = 1;  // between two tensors that stay whole

std::shared_ptr<model::Layout> WholeLayout() {
  return std::make_shared<model::Layout>(std::vector<int64_t>{7, kRows * kCols, 35});
}

kernels::Pattern SomeEntries(Rng& rng, int one_in) {
  std::vector<uint64_t> kept((kRows * kCols + 63) / 64);
  for (int i = 0; i < kRows * kCols; ++i) kept[i / 64] |= uint64_t{rng.Below(one_in) == 0} << (i % 64);
  kept[0] |= 1;
  return kernels::Pattern::FromDenseBitmap(kRows, kCols, kept.data());
}

// Index in the whole tensor of every value of the matrix.
std::vector<int> IndicesOf(const model::Layout& layout) {
  std::vector<int> indices;
  const kernels::PatternView* set = layout.candidates(kMatrix);
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; set == nullptr && c < kCols; ++c) indices.push_back(r * kCols + c);
    if (set == nullptr) continue;
    for (uint32_t e = set->row_offsets[r]; e < set->row_offsets[r + 1]; ++e) {
      indices.push_back(r * kCols + set->col_indices[e]);
    }
  }
  return indices;
}

TEST(Residual, FollowsItsEntriesThroughChangesOfCandidates) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  const std::shared_ptr<model::Layout> layout = WholeLayout();
  kernels::ThreadPool pool(2);
  Residual residual(layout, pool);
  std::map<int, float> expected;  // of the matrix, by index in the whole tensor
  std::vector<float> other(35);
  for (int step = 0; step < 30; ++step) {
    if (step % 3 == 2) {  // denser and sparser, so that tensors move both ways
      std::vector<model::Layout::Change> changes;
      changes.push_back({kMatrix, SomeEntries(rng, 2 + static_cast<int>(rng.Below(8)))});
      layout->Apply(std::move(changes));
    }
    residual.Begin();
    float* values = residual.values().data() + layout->offset(kMatrix);
    const std::vector<int> indices = IndicesOf(*layout);
    std::map<int, float> now;
    for (size_t e = 0; e < indices.size(); ++e) {
      const auto was = expected.find(indices[e]);
      ASSERT_EQ(values[e], was == expected.end() ? 0 : was->second) << "step " << step << ", entry " << indices[e];
      now[indices[e]] = values[e] = rng.Normal();
    }
    expected = std::move(now);
    float* whole = residual.values().data() + layout->offset(2);
    for (size_t i = 0; i < other.size(); ++i) {
      ASSERT_EQ(whole[i], other[i]) << "step " << step;
      other[i] = whole[i] = rng.Normal();
    }
  }
}

TEST(Residual, HasNothingBetweenTensors) {
  Rng rng(12);
  const std::shared_ptr<model::Layout> layout = WholeLayout();
  kernels::ThreadPool pool(1);
  Residual residual(layout, pool);
  residual.Begin();
  for (int t = 0; t < layout->size(); ++t) {
    for (int64_t i = 0; i < layout->stored(t); ++i) residual.values()[layout->offset(t) + i] = 1;
  }
  std::vector<model::Layout::Change> changes;
  changes.push_back({kMatrix, SomeEntries(rng, 5)});
  layout->Apply(std::move(changes));
  residual.Begin();
  double sum = 0;
  for (const float value : residual.values()) sum += value;
  EXPECT_EQ(sum, static_cast<double>(layout->stored_elements()));
}

TEST(Residual, UndoGivesBackWhatStoodThereBeforeTheStep) {
  const std::shared_ptr<model::Layout> layout = WholeLayout();
  kernels::ThreadPool pool(1);
  Residual residual(layout, pool);
  residual.Begin();
  residual.values()[3] = 5;
  residual.Begin();
  residual.values()[3] = 7;
  residual.values()[4] = 8;
  residual.Undo();
  EXPECT_EQ(residual.values()[3], 5);
  EXPECT_EQ(residual.values()[4], 0);
}

}  // namespace
}  // namespace filigree::exchange
