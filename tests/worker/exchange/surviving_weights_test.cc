#include "worker/exchange/surviving_weights.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

struct Whole {
  int64_t rows, cols;
  std::vector<std::vector<Slice>> slices;  // of each rank
  std::vector<float> w;                    // 0 where not kept
  std::vector<uint64_t> kept;
};

Whole Make(int64_t rows, int64_t cols, int ranks, double density, bool columns, uint64_t seed) {
  Rng rng(seed);
  Whole whole = {rows, cols, {}, std::vector<float>(rows * cols), std::vector<uint64_t>((rows * cols + 63) / 64)};
  for (int64_t i = 0; i < rows * cols; ++i) {
    if (rng.Uniform() >= density) continue;
    kernels::Keep(i, whole.kept.data());
    whole.w[i] = rng.Below(10) ? rng.Normal() : rng.Below(2) ? 0.0f : -0.0f;
  }
  whole.slices.resize(ranks);
  const int64_t n = columns ? cols : rows;
  std::vector<int64_t> cuts = {0, n};
  for (int i = 1; i < 2 * ranks; ++i) cuts.push_back(static_cast<int64_t>(rng.Below(n + 1)));
  std::sort(cuts.begin(), cuts.end());
  for (int i = 0; i < 2 * ranks; ++i) {
    whole.slices[i % ranks].push_back(columns ? Slice{0, rows, cuts[i], cuts[i + 1]}
                                              : Slice{cuts[i], cuts[i + 1], 0, cols});
  }
  return whole;
}

// What a rank holds before: its own parts as they should be, garbage elsewhere.
struct Held {
  Held(const Whole& whole, int rank) : w(whole.w.size(), 7.0f), kept(whole.kept.size()) {
    matrix.rows = whole.rows;
    matrix.cols = whole.cols;
    matrix.kept = kept.data();
    for (const std::vector<Slice>& slices : whole.slices) {
      std::vector<MatrixPart>& parts = matrix.parts.emplace_back();
      for (const Slice& s : slices) parts.push_back({s, w.data() + s.row_begin * whole.cols + s.col_begin, whole.cols});
    }
    for (const Slice& s : whole.slices[rank]) {
      for (int64_t r = s.row_begin; r < s.row_end; ++r) {
        for (int64_t i = r * whole.cols + s.col_begin; i < r * whole.cols + s.col_end; ++i) {
          w[i] = whole.w[i];
          if (kernels::IsKept(whole.kept.data(), i)) kernels::Keep(i, kept.data());
        }
      }
    }
  }
  std::vector<float> w;
  std::vector<uint64_t> kept;
  SurvivingMatrix matrix;
};

TEST(SurvivingWeights, ArriveBitForBitOnEveryRank) {
  for (const int ranks : {1, 2, 3, 4}) {
    std::vector<Whole> wholes;
    uint64_t seed = 100 * ranks;
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {1, 300}, {63, 65}, {50, 7}, {130, 200}}) {
      for (const double density : {0.0, 0.01, 0.3, 1.0}) {
        wholes.push_back(Make(rows, cols, ranks, density, seed % 2 == 0, seed));
        ++seed;
      }
    }
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator comm(std::move(transport), {});
      kernels::ThreadPool pool(2);
      std::vector<std::unique_ptr<Held>> held;
      std::vector<SurvivingMatrix> matrices;
      for (const Whole& whole : wholes) {
        held.push_back(std::make_unique<Held>(whole, comm.rank()));
        matrices.push_back(held.back()->matrix);
      }
      const absl::Status status = GatherSurvivingWeights(comm, matrices, pool);
      ASSERT_TRUE(status.ok()) << status.ToString();
      for (size_t m = 0; m < wholes.size(); ++m) {
        EXPECT_EQ(std::memcmp(held[m]->w.data(), wholes[m].w.data(), wholes[m].w.size() * sizeof(float)), 0) << m;
        EXPECT_EQ(held[m]->kept, wholes[m].kept) << m;
      }
    });
  }
}

TEST(SurvivingWeights, CostFourBytesAndTheirEntropy) {
  for (const int one_in : {16, 64, 256, 1000}) {
    const Whole whole = Make(1024, 1024, 2, 1.0 / one_in, false, one_in);
    double bytes = 0, survivors = 0;
    for (const uint64_t word : whole.kept) survivors += std::popcount(word);
    testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator comm(std::move(transport), {});
      kernels::ThreadPool pool(1);
      Held held(whole, comm.rank());
      ASSERT_TRUE(GatherSurvivingWeights(comm, {&held.matrix, 1}, pool).ok());
      const auto traffic = comm.traffic();
      if (comm.rank() == 0) bytes = static_cast<double>(traffic.sent_bytes + traffic.received_bytes);
    });
    const double each = (bytes - 2 * 24) / survivors;  // without lengths and counts
    std::printf("density 1/%-4d  %.3f bytes a survivor to each other rank, %.1f times fewer than dense fp32\n", one_in,
                each, 4 * one_in / each);
    EXPECT_LT(each, 4 + (std::log2(one_in) + 1.6) / 8);
    EXPECT_GT(each, 4 + (std::log2(one_in) + 1.3) / 8);
  }
}

TEST(SurvivingWeights, RefuseWhatDoesNotFitTheParts) {
  const Whole whole = Make(40, 30, 2, 0.5, false, 1), other = Make(41, 30, 2, 0.5, false, 1);
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1);
    Held held(comm.rank() == 0 ? whole : other, comm.rank());
    EXPECT_EQ(GatherSurvivingWeights(comm, {&held.matrix, 1}, pool).code(), absl::StatusCode::kInvalidArgument);
  });
}

}  // namespace
}  // namespace filigree::exchange
