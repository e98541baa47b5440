// The distributed selection against the definition on whole matrices: bit for bit, for any cut, ranks and guesses.

#include "worker/exchange/distributed_select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/entry.h"
#include "kernels/weight_topk/weight_topk.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"

namespace filigree::exchange {
namespace {

using kernels::Unit;
using kernels::WeightSelection;
using testing_support::Rng;
using Bitmap = std::vector<uint64_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Draw {
  const char* name;
  float (*value)(Rng&, int64_t row, int64_t col);
};

const Draw kDraws[] = {
    {"normal", [](Rng& rng, int64_t, int64_t) { return rng.Normal(); }},
    {"unit_scales",
     [](Rng& rng, int64_t r, int64_t c) { return rng.Normal() * static_cast<float>((1 + r % 7) * (1 + c % 5)); }},
    {"three_values", [](Rng& rng, int64_t, int64_t) { return static_cast<float>(rng.Below(3)) - 1.0f; }},
    {"rounded", [](Rng& rng, int64_t, int64_t) { return std::round(rng.Normal() * 8) / 8; }},
    {"subnormal", [](Rng& rng, int64_t, int64_t) { return rng.Normal() * 1e-42f; }},
    {"nan", [](Rng& rng, int64_t, int64_t) { return rng.Below(30) ? rng.Normal() : kNan; }},
    {"mostly_nan", [](Rng& rng, int64_t, int64_t) { return rng.Below(4) ? -kNan : rng.Normal(); }},
    {"all_equal", [](Rng& rng, int64_t, int64_t) { return rng.Below(2) ? 0.25f : -0.25f; }},
    {"all_zero", [](Rng& rng, int64_t, int64_t) { return rng.Below(2) ? 0.0f : -0.0f; }},
    {"mostly_zero", [](Rng& rng, int64_t, int64_t) { return rng.Below(50) ? 0.0f : rng.Normal(); }},
    {"random_bits",
     [](Rng& rng, int64_t, int64_t) { return std::bit_cast<float>(static_cast<uint32_t>(rng.Below(0xffffffffu))); }},
};

// One matrix of a test: whole, and how it is cut among the ranks.
struct Whole {
  WeightSelection selection;
  std::vector<float> w;
  std::vector<std::vector<Slice>> slices;  // of each rank

  int64_t numel() const { return selection.rows * selection.cols; }
};

std::vector<float> Fill(const Draw& draw, Rng& rng, int64_t rows, int64_t cols) {
  std::vector<float> w(rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) w[i] = draw.value(rng, i / cols, i % cols);
  return w;
}

// Cuts [0, n) at random places into `parts`, some of them empty.
std::vector<int64_t> Cuts(Rng& rng, int64_t n, int64_t parts) {
  std::vector<int64_t> cuts = {0, n};
  for (int64_t i = 1; i < parts; ++i) cuts.push_back(static_cast<int64_t>(rng.Below(static_cast<uint64_t>(n) + 1)));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

// Rows, or columns where they are units, to ranks at random; up to two parts a rank.
std::vector<std::vector<Slice>> CutAmong(Rng& rng, const WeightSelection& s, int ranks) {
  std::vector<std::vector<Slice>> slices(ranks);
  const bool columns = s.unit == Unit::kColumn || (s.unit == Unit::kNone && rng.Below(2) == 1);
  const int64_t parts = ranks * static_cast<int64_t>(1 + rng.Below(2));
  const std::vector<int64_t> cuts = Cuts(rng, columns ? s.cols : s.rows, parts);
  for (int64_t i = 0; i < parts; ++i) {
    const Slice slice = columns ? Slice{0, s.rows, cuts[i], cuts[i + 1]} : Slice{cuts[i], cuts[i + 1], 0, s.cols};
    slices[i % ranks].push_back(slice);
  }
  return slices;
}

// Parts of one rank: in their place in the whole matrix, or copied out.
struct Held {
  std::vector<std::vector<float>> copies;
  std::vector<MatrixPart> parts;
  Bitmap kept;
};
Held Hold(const Whole& whole, int rank, bool copy) {
  Held held;
  held.kept.assign((whole.numel() + 63) / 64, 0xa5a5a5a5a5a5a5a5u);
  const int64_t cols = whole.selection.cols;
  held.copies.reserve(whole.slices[rank].size());
  for (const Slice& slice : whole.slices[rank]) {
    MatrixPart part = {slice, const_cast<float*>(whole.w.data()) + slice.row_begin * cols + slice.col_begin, cols};
    if (copy) {
      std::vector<float>& to = held.copies.emplace_back();
      for (int64_t r = slice.row_begin; r < slice.row_end; ++r) {
        to.insert(to.end(), part.row(r), part.row(r) + slice.cols());
      }
      part.w = to.data();
      part.stride = slice.cols();
    }
    held.parts.push_back(part);
  }
  return held;
}

Bitmap Expected(const Whole& whole) {
  Bitmap kept((whole.numel() + 63) / 64);
  kernels::ref::SelectWeights(whole.w.data(), whole.selection, kept.data());
  return kept;
}

// Scope global by its definition: units first, then everything else sorted.
std::vector<Bitmap> ExpectedTogether(const std::vector<Whole>& wholes) {
  std::vector<Bitmap> kept;
  struct Rest {
    int32_t bits;
    size_t matrix;
    int64_t index;
  };
  std::vector<Rest> rest;
  int64_t left = 0;
  for (size_t m = 0; m < wholes.size(); ++m) {
    Whole first = wholes[m];
    const WeightSelection& s = wholes[m].selection;
    const int64_t length = s.unit == Unit::kRow ? s.cols : s.rows;
    const int64_t units = s.unit == Unit::kRow ? s.rows : s.unit == Unit::kColumn ? s.cols : 0;
    first.selection.k = units * std::min<int64_t>(s.min_alive, length);
    left += s.k - first.selection.k;
    kept.push_back(Expected(first));
    for (int64_t i = 0; i < wholes[m].numel(); ++i) {
      if (!kernels::IsKept(kept[m].data(), i)) rest.push_back({kernels::MagnitudeBits(wholes[m].w[i]), m, i});
    }
  }
  std::stable_sort(rest.begin(), rest.end(), [](const Rest& a, const Rest& b) { return a.bits > b.bits; });
  for (int64_t i = 0; i < left; ++i) kernels::Keep(rest[i].index, kept[rest[i].matrix].data());
  return kept;
}

bool Owns(const std::vector<Slice>& slices, int64_t row, int64_t col) {
  return std::any_of(slices.begin(), slices.end(), [&](const Slice& s) {
    return s.row_begin <= row && row < s.row_end && s.col_begin <= col && col < s.col_end;
  });
}

// Calls Select on every rank for every step (the same matrices with other weights) and compares.
void ExpectSelects(const std::vector<std::vector<Whole>>& steps, SelectScope scope, int ranks, bool copy) {
  std::vector<std::vector<Bitmap>> expected;
  for (const std::vector<Whole>& wholes : steps) {
    if (scope == SelectScope::kGlobal) {
      expected.push_back(ExpectedTogether(wholes));
      continue;
    }
    std::vector<Bitmap>& each = expected.emplace_back();
    for (const Whole& whole : wholes) each.push_back(Expected(whole));
  }
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1 + comm.rank() % 3);
    DistributedSelect select(comm, scope, pool);
    for (size_t step = 0; step < steps.size(); ++step) {
      const std::vector<Whole>& wholes = steps[step];
      std::vector<Held> held;
      held.reserve(wholes.size());
      for (const Whole& whole : wholes) held.push_back(Hold(whole, comm.rank(), copy));
      std::vector<ShardedMatrix> matrices;
      matrices.reserve(wholes.size());
      for (size_t m = 0; m < wholes.size(); ++m) {
        matrices.push_back({wholes[m].selection, held[m].parts, held[m].kept.data()});
      }
      const absl::Status status = select.Select(matrices);
      ASSERT_TRUE(status.ok()) << status.ToString();
      for (size_t m = 0; m < wholes.size(); ++m) {
        const int64_t cols = wholes[m].selection.cols;
        Bitmap mine = expected[step][m];
        int64_t total = 0;
        for (int64_t i = 0; i < wholes[m].numel(); ++i) {
          total += kernels::IsKept(mine.data(), i);
          if (!Owns(wholes[m].slices[comm.rank()], i / cols, i % cols)) mine[i / 64] &= ~(uint64_t{1} << (i % 64));
        }
        ASSERT_EQ(held[m].kept, mine) << "rank " << comm.rank() << " of " << ranks << ", step " << step << ", matrix "
                                      << m << ": " << wholes[m].selection.rows << " x " << cols << ", k "
                                      << wholes[m].selection.k << ", min alive " << wholes[m].selection.min_alive
                                      << ", unit " << static_cast<int>(wholes[m].selection.unit);
        ASSERT_EQ(select.kept(m), total);
      }
    }
  });
}

class DistributedSelectDraws : public testing::TestWithParam<Draw> {};

// Shapes, units, min alive and k of every kind, several matrices at once.
std::vector<Whole> Matrices(const Draw& draw, Rng& rng, int ranks) {
  std::vector<Whole> wholes;
  const int64_t shapes[][2] = {{1, 1}, {1, 70}, {70, 1}, {3, 5}, {17, 65}, {70, 63}, {130, 24}};
  for (const auto& [rows, cols] : shapes) {
    for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
      for (const int min_alive : {0, 1, 4}) {
        if (unit == Unit::kNone && min_alive > 0) continue;
        const int64_t units = unit == Unit::kRow ? rows : unit == Unit::kColumn ? cols : 0;
        const int64_t least = units * std::min<int64_t>(min_alive, unit == Unit::kRow ? cols : rows);
        const int64_t numel = rows * cols;
        for (const int64_t k : {least, least + 1, least + (numel - least) / 20, numel - 1, numel}) {
          if (k > numel || k < least) continue;
          Whole whole = {{rows, cols, k, min_alive, unit}, Fill(draw, rng, rows, cols), {}};
          whole.slices = CutAmong(rng, whole.selection, ranks);
          wholes.push_back(std::move(whole));
        }
      }
    }
  }
  return wholes;
}

TEST_P(DistributedSelectDraws, KeepsWhatTheWholeMatrixWould) {
  for (const int ranks : {1, 2, 3, 4}) {
    Rng rng(/*seed=*/20 + ranks);
    const std::vector<Whole> wholes = Matrices(GetParam(), rng, ranks);
    ExpectSelects({wholes}, SelectScope::kMatrix, ranks, ranks % 2 == 0);
    if (HasFatalFailure()) return;
  }
}

TEST_P(DistributedSelectDraws, KeepsWhatOneThresholdForAllWould) {
  for (const int ranks : {1, 3}) {
    Rng rng(/*seed=*/30 + ranks);
    std::vector<Whole> wholes = Matrices(GetParam(), rng, ranks);
    for (const int matrices : {static_cast<int>(wholes.size()), 3}) {  // a few: those at the front are small
      wholes.erase(wholes.begin(), wholes.end() - matrices);
      ExpectSelects({wholes}, SelectScope::kGlobal, ranks, ranks % 2 == 1);
      if (HasFatalFailure()) return;
    }
  }
}

// Thresholds that stay, creep, jump up and down: guesses that hit, miss on either side, and are far away.
TEST_P(DistributedSelectDraws, GuessesChangeNothing) {
  Rng rng(/*seed=*/40);
  std::vector<Whole> first;
  for (const Unit unit : {Unit::kNone, Unit::kRow, Unit::kColumn}) {
    Whole whole = {{70, 131, 1500, unit == Unit::kNone ? 0 : 4, unit}, Fill(GetParam(), rng, 70, 131), {}};
    whole.slices = CutAmong(rng, whole.selection, 3);
    first.push_back(std::move(whole));
  }
  std::vector<std::vector<Whole>> steps;
  const float scales[] = {1, 1, 1.0001f, 1.01f, 4, 4, 1e-3f, 1, 1};
  const int64_t ks[] = {1500, 1500, 1500, 1490, 1500, 9000, 1500, 700, 9170};
  for (size_t i = 0; i < std::size(scales); ++i) {
    std::vector<Whole>& wholes = steps.emplace_back(first);
    for (Whole& whole : wholes) {
      whole.selection.k = ks[i];
      for (float& w : whole.w) w *= scales[i];
    }
  }
  ExpectSelects(steps, SelectScope::kMatrix, 3, false);
  ExpectSelects(steps, SelectScope::kGlobal, 3, true);
}

INSTANTIATE_TEST_SUITE_P(Draws, DistributedSelectDraws, testing::ValuesIn(kDraws),
                         [](const testing::TestParamInfo<Draw>& info) { return std::string(info.param.name); });

TEST(DistributedSelect, ReportsTheThresholdOfTheWholeMatrix) {
  Rng rng(/*seed=*/50);
  Whole whole = {{64, 100, 500, 2, Unit::kRow}, Fill(kDraws[0], rng, 64, 100), {}};
  whole.slices = CutAmong(rng, whole.selection, 2);
  kernels::WeightThreshold expected;
  kernels::ThreadPool pool(1);
  Bitmap kept(100);
  kernels::SelectWeights(whole.w.data(), whole.selection, &expected, pool, kept.data());
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool own(1);
    DistributedSelect select(comm, SelectScope::kMatrix, own);
    Held held = Hold(whole, comm.rank(), false);
    const ShardedMatrix matrix = {whole.selection, held.parts, held.kept.data()};
    ASSERT_TRUE(select.Select({&matrix, 1}).ok());
    EXPECT_EQ(select.threshold(0), expected.value);
  });
}

// What `calls` selections of one matrix send, of the last of them.
int64_t BytesOf(int64_t rows, int64_t cols, int ranks, int calls) {
  Rng rng(/*seed=*/60);
  Whole whole = {{rows, cols, rows * cols / 16, 4, Unit::kRow}, Fill(kDraws[0], rng, rows, cols), {}};
  whole.slices.resize(ranks);
  for (int r = 0; r < ranks; ++r) whole.slices[r] = {{rows * r / ranks, rows * (r + 1) / ranks, 0, cols}};
  int64_t bytes = 0;
  std::mutex mutex;
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1);
    DistributedSelect select(comm, SelectScope::kMatrix, pool);
    Held held = Hold(whole, comm.rank(), true);
    for (int call = 0; call < calls; ++call) {
      const comm::Traffic before = comm.traffic();
      const ShardedMatrix matrix = {whole.selection, held.parts, held.kept.data()};
      ASSERT_TRUE(select.Select({&matrix, 1}).ok());
      if (call + 1 < calls) continue;
      const std::scoped_lock lock(mutex);
      bytes += (comm.traffic() - before).sent_bytes;
    }
  });
  return bytes;
}

TEST(DistributedSelect, BytesDoNotDependOnTheSizeOfTheMatrix) {
  for (const int calls : {1, 2, 4, 10}) {
    const int64_t small = BytesOf(64, 80, 2, calls), large = BytesOf(640, 1000, 2, calls);
    std::printf("call %d: %ld bytes a rank for 5120 entries, %ld for 640000\n", calls, static_cast<long>(small / 2),
                static_cast<long>(large / 2));
    EXPECT_EQ(small, large) << "call " << calls;
    EXPECT_LE(small / 2, (2048 + 1024 + 1024 + 2) * 4) << "a cold one is three rounds, reduced with one other rank";
  }
  EXPECT_LT(BytesOf(64, 80, 2, 10), BytesOf(64, 80, 2, 1) / 20) << "a guess that holds makes the rounds small";
  EXPECT_GT(BytesOf(64, 80, 2, 1), 0);
  EXPECT_EQ(BytesOf(64, 80, 1, 3), 0);
}

TEST(DistributedSelect, NoticesPartsThatAreHeldTwice) {
  Rng rng(/*seed=*/70);
  Whole whole = {{64, 80, 500, 0, Unit::kNone}, Fill(kDraws[0], rng, 64, 80), {}};
  whole.slices = {{{0, 40, 0, 80}}, {{30, 64, 0, 80}}};
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1);
    DistributedSelect select(comm, SelectScope::kMatrix, pool);
    Held held = Hold(whole, comm.rank(), false);
    const ShardedMatrix matrix = {whole.selection, held.parts, held.kept.data()};
    EXPECT_EQ(select.Select({&matrix, 1}).code(), absl::StatusCode::kFailedPrecondition);
  });
}

TEST(DistributedSelectDeathTest, TakesNoPartsThatCutUnits) {
  std::vector<float> w(64);
  Bitmap kept(1);
  const MatrixPart part = {{0, 8, 0, 4}, w.data(), 8};
  const ShardedMatrix matrix = {{8, 8, 16, 1, Unit::kRow}, {&part, 1}, kept.data()};
  comm::Communicator comm(std::move(comm::LocalTransports(1)[0]), {});
  kernels::ThreadPool pool(1);
  DistributedSelect select(comm, SelectScope::kMatrix, pool);
  EXPECT_DEATH((void)select.Select({&matrix, 1}), "cuts units");
}

}  // namespace
}  // namespace filigree::exchange
