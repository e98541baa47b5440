#include "worker/exchange/candidate_sets.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"

namespace filigree::exchange {
namespace {

using testing::HasSubstr;
using testing_support::Rng;

kernels::Pattern Draw(int rows, int cols, double density, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> bits((static_cast<size_t>(rows) * cols + 63) / 64);
  for (int64_t i = 0; i < int64_t{rows} * cols; ++i) {
    if (rng.Uniform() < density) kernels::Keep(i, bits.data());
  }
  return kernels::Pattern::FromDenseBitmap(rows, cols, bits.data());
}

kernels::Pattern CopyOf(const kernels::Pattern& pattern) {
  const std::vector<uint64_t> all((pattern.nnz() + 63) / 64 + 1, ~uint64_t{0});
  return kernels::Pattern::Subset(pattern.view(), all.data());
}

void ExpectSame(const kernels::Pattern& a, const kernels::Pattern& b, const std::string& what) {
  ASSERT_EQ(a.rows(), b.rows()) << what;
  ASSERT_EQ(a.cols(), b.cols()) << what;
  ASSERT_EQ(a.nnz(), b.nnz()) << what;
  const kernels::PatternView x = a.view(), y = b.view();
  EXPECT_TRUE(std::equal(x.row_offsets, x.row_offsets + a.rows() + 1, y.row_offsets)) << what;
  EXPECT_TRUE(std::equal(x.col_indices, x.col_indices + a.nnz(), y.col_indices)) << what;
}

struct Shape {
  int rows, cols;
  double density;
};
constexpr Shape kShapes[] = {{1, 1, 1},      {37, 65, 0.3}, {64, 16, 1},          {129, 7, 0.01},
                             {3, 5000, 0.2}, {500, 3, 0},   {250, 251, 1.0 / 64}, {2, 65536, 1.0 / 300}};

TEST(CandidateSets, AllHaveWhatTheOwnersChose) {
  constexpr uint64_t kSeed = 20261130;
  RecordProperty("seed", static_cast<int>(kSeed));
  for (const int ranks : {1, 2, 3, 4}) {
    std::vector<kernels::Pattern> chosen;
    for (const Shape& s : kShapes) chosen.push_back(Draw(s.rows, s.cols, s.density, kSeed + chosen.size()));
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator all(std::move(transport), {});
      kernels::ThreadPool pool(2);
      std::vector<kernels::Pattern> here(std::size(kShapes));
      std::vector<OwnedSet> sets;
      for (size_t i = 0; i < here.size(); ++i) {
        const int owner = static_cast<int>(i * 5 % ranks);  // with 4 ranks some own several, and in no order
        if (owner == all.rank()) here[i] = CopyOf(chosen[i]);
        sets.push_back({owner, chosen[i].rows(), chosen[i].cols(), chosen[i].nnz(), &here[i]});
      }
      ASSERT_TRUE(GatherCandidateSets(all, sets, pool).ok());
      for (size_t i = 0; i < here.size(); ++i) ExpectSame(here[i], chosen[i], "matrix " + std::to_string(i));
    });
  }
}

TEST(CandidateSets, ASetOfAnotherSizeIsRefused) {
  const kernels::Pattern chosen = Draw(20, 30, 0.2, 4);
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator all(std::move(transport), {});
    kernels::ThreadPool pool(1);
    kernels::Pattern here;
    if (all.rank() == 1) here = CopyOf(chosen);
    const OwnedSet set = {1, 20, 30, chosen.nnz() + (all.rank() == 0 ? 1 : 0), &here};
    const absl::Status status = GatherCandidateSets(all, {&set, 1}, pool);
    if (all.rank() == 1) {
      EXPECT_TRUE(status.ok()) << status;
      return;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("candidates of matrix 0 from rank 1"));
  });
}

}  // namespace
}  // namespace filigree::exchange
