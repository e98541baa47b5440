// Digests of a state, however it is stored and cut; and seeded faults: one weight, one moment, one bit of a mask, on
// one of several ranks.

#include "worker/exchange/consensus.h"

#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/state_digest.h"
#include "worker/model/registry.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

model::TensorInfo Info(const std::string& name, int64_t rows, int64_t cols) {
  model::TensorInfo info;
  info.name = name;
  info.rows = rows;
  info.cols = cols;
  return info;
}

// One matrix and one vector with moments and a mask, and a matrix on candidates.
struct State {
  explicit State(uint64_t seed) : infos{Info("matrix", 37, 65), Info("vector", 1, 50), Info("sparse", 40, 300)} {
    Rng rng(seed);
    std::vector<uint64_t> positions((40 * 300 + 63) / 64);
    for (uint64_t& word : positions) word = rng.Below(~0ull) & rng.Below(~0ull) & rng.Below(~0ull);
    positions.back() &= (uint64_t{1} << (40 * 300 % 64)) - 1;
    pattern = kernels::Pattern::FromDenseBitmap(40, 300, positions.data());
    view = pattern.view();
    for (size_t t = 0; t < infos.size(); ++t) {
      const int64_t n = t == 2 ? pattern.nnz() : infos[t].numel();
      for (std::vector<float>& array : arrays[t]) {
        array.resize(n);
        for (float& value : array) value = rng.Below(4) ? rng.Normal() : 0.0f;
      }
      kept[t].resize((n + 63) / 64);
      for (int64_t i = 0; i < n; ++i) {
        if (rng.Below(3) == 0) kept[t][i / 64] |= uint64_t{1} << (i % 64);
      }
    }
  }
  DigestedTensor Tensor(size_t t) const {
    return {&infos[t],           t == 2 ? &view : nullptr, arrays[t][0].data(),
            arrays[t][1].data(), arrays[t][2].data(),      t == 1 ? nullptr : kept[t].data()};
  }
  std::vector<TensorDigests> Digests(int threads) const {
    std::vector<DigestedTensor> tensors;
    for (size_t t = 0; t < infos.size(); ++t) tensors.push_back(Tensor(t));
    kernels::ThreadPool pool(threads);
    return StateDigests(tensors, pool);
  }

  std::vector<model::TensorInfo> infos;
  kernels::Pattern pattern;
  kernels::PatternView view;
  std::vector<float> arrays[3][3];
  std::vector<uint64_t> kept[3];
};

// One flipped bit somewhere; says where.
std::string Flip(State& state, uint64_t seed) {
  Rng rng(seed);
  const size_t t = rng.Below(3);
  if (rng.Below(4) == 0 && t != 1) {
    const auto i = rng.Below(t == 2 ? state.pattern.nnz() : state.infos[t].numel());
    state.kept[t][i / 64] ^= uint64_t{1} << (i % 64);
    return "mask of " + state.infos[t].name;
  }
  const size_t a = rng.Below(3);
  float& value = state.arrays[t][a][rng.Below(state.arrays[t][a].size())];
  value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ (1u << rng.Below(32)));
  return std::string(Name(static_cast<Component>(a))) + " of " + state.infos[t].name;
}

TEST(StateDigests, DoNotDependOnThreads) {
  const State state(/*seed=*/1);
  EXPECT_EQ(state.Digests(1), state.Digests(3));
  EXPECT_EQ(Together(state.Digests(1)), Together(state.Digests(4)));
  EXPECT_NE(Together(state.Digests(1)), Together(State(/*seed=*/2).Digests(1)));
}

// Whole and on candidates, cut within rows and words of the mask.
TEST(StateDigests, OfPartsAddUp) {
  const State state(/*seed=*/7);
  const auto all = state.Digests(2);
  for (size_t t = 0; t < 3; ++t) {
    const DigestedTensor tensor = state.Tensor(t);
    const int64_t values = std::ssize(state.arrays[t][0]);
    for (const int64_t step : {int64_t{1}, int64_t{63}, int64_t{100}, int64_t{301}, int64_t{1021}, values}) {
      TensorDigests sum;
      for (int64_t begin = 0; begin < values; begin += step) {
        AddStored(tensor, begin, std::min(values, begin + step), sum);
      }
      sum.name = all[t].name;
      EXPECT_EQ(sum, all[t]) << all[t].name << " in parts of " << step;
    }
  }
}

// More values than one task takes.
TEST(StateDigests, OfALargeTensorDoNotDependOnTasks) {
  constexpr int64_t kRows = 300, kCols = 700;
  Rng rng(/*seed=*/8);
  std::vector<float> values(kRows * kCols);
  for (float& value : values) value = rng.Normal();
  const model::TensorInfo info = Info("large", kRows, kCols);
  kernels::Pattern pattern = kernels::Pattern::Full(kRows, kCols);
  const kernels::PatternView view = pattern.view();
  kernels::ThreadPool pool(2);
  for (const kernels::PatternView* candidates : {static_cast<const kernels::PatternView*>(nullptr), &view}) {
    const DigestedTensor tensor = {&info, candidates, values.data()};
    TensorDigests once;
    AddStored(tensor, 0, std::ssize(values), once);
    EXPECT_EQ(StateDigests({&tensor, 1}, pool)[0].of[0], once.of[0]);
    kernels::Digest plain;
    for (size_t i = 0; i < values.size(); ++i) {
      plain.Add(static_cast<uint32_t>(i), std::bit_cast<uint32_t>(values[i]));
    }
    EXPECT_EQ(once.of[0], plain);
  }
}

TEST(StateDigests, DoNotDependOnStorage) {
  const State state(/*seed=*/3);
  const auto on_candidates = state.Digests(2)[2];
  // The same matrix whole.
  std::vector<float> whole[3];
  std::vector<uint64_t> kept((40 * 300 + 63) / 64);
  for (std::vector<float>& array : whole) array.resize(40 * 300);
  int64_t e = 0;
  for (int r = 0; r < 40; ++r) {
    for (; e < state.view.row_offsets[r + 1]; ++e) {
      const int64_t i = r * 300 + state.view.col_indices[e];
      for (int a = 0; a < 3; ++a) whole[a][i] = state.arrays[2][a][e];
      if (state.kept[2][e / 64] >> (e % 64) & 1) kept[i / 64] |= uint64_t{1} << (i % 64);
    }
  }
  const DigestedTensor tensor = {&state.infos[2], nullptr,         whole[0].data(),
                                 whole[1].data(), whole[2].data(), kept.data()};
  kernels::ThreadPool pool(2);
  const auto as_whole = StateDigests({&tensor, 1}, pool)[0];
  for (const Component c :
       {Component::kWeights, Component::kFirstMoments, Component::kSecondMoments, Component::kMask}) {
    EXPECT_EQ(as_whole.of[static_cast<int>(c)], on_candidates.of[static_cast<int>(c)]) << Name(c);
  }
}

// c_attn on two ranks: of each of q, k, v half of the rows; c_proj: half of the columns; and parts of owners.
TEST(StateDigests, OfRanksAddUpToThoseOfTheWhole) {
  Rng rng(/*seed=*/4);
  kernels::ThreadPool pool(2);
  for (const bool columns : {false, true}) {
    const int64_t rows = columns ? 33 : 24, cols = columns ? 70 : 31;
    std::vector<float> w(rows * cols);
    for (float& value : w) value = rng.Normal();
    const model::TensorInfo whole = Info("shared", rows, cols);
    const DigestedTensor tensor = {&whole, nullptr, w.data()};
    const kernels::Digest expected = StateDigests({&tensor, 1}, pool)[0].of[0];
    kernels::Digest sum, by_owners;
    for (int rank = 0; rank < 2; ++rank) {
      model::TensorInfo info = whole;
      info.shared = true;
      info.rows = columns ? rows : rows / 2;
      info.cols = columns ? cols / 2 : cols;
      info.row_range = columns ? model::Range{rows, 1, 0} : model::Range{rows, 3, rank * 4};
      info.col_range = columns ? model::Range{cols, 1, rank * cols / 2} : model::Range{cols, 1, 0};
      std::vector<float> here(info.numel());
      for (int64_t i = 0; i < info.numel(); ++i) here[i] = w[info.WholeIndex(i)];
      const DigestedTensor shard = {&info, nullptr, here.data()};
      TensorDigests in_parts;
      for (int64_t i = 0; i < info.numel(); i += 13) AddStored(shard, i, std::min(info.numel(), i + 13), in_parts);
      EXPECT_EQ(StateDigests({&shard, 1}, pool)[0].of[0], in_parts.of[0]);
      sum += in_parts.of[0];
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 5}, {5, info.rows}}) {
        const MatrixPart part = {{begin, end, 0, info.cols}, here.data() + begin * info.cols, info.cols};
        by_owners += PartsDigest(info, {&part, 1}, pool);
      }
    }
    EXPECT_EQ(sum, expected) << "columns " << columns;
    EXPECT_EQ(by_owners, expected) << "columns " << columns;
  }
}

TEST(StateDigests, EveryFlipShows) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    State state(/*seed=*/5);
    const auto before = state.Digests(1);
    const std::string where = Flip(state, seed);
    const auto after = state.Digests(1);
    int differing = 0;
    for (size_t t = 0; t < before.size(); ++t) {
      for (int c = 0; c < kComponents; ++c) {
        if (before[t].of[c] == after[t].of[c]) continue;
        ++differing;
        EXPECT_EQ(std::string(Name(static_cast<Component>(c))) + " of " + before[t].name, where);
      }
    }
    EXPECT_EQ(differing, 1) << where;
  }
}

// Every rank calls Compare with the claim that `claim` makes for it; all must come to the same verdict.
Verdict CompareAll(int ranks, const std::function<Claim(int rank)>& claim) {
  std::vector<Verdict> verdicts(ranks);
  testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    const auto verdict = Compare(comm, claim(comm.rank()));
    ASSERT_TRUE(verdict.ok()) << verdict.status().ToString();
    verdicts[comm.rank()] = *verdict;
  });
  for (const Verdict& verdict : verdicts) {
    EXPECT_EQ(verdict.ranks, verdicts[0].ranks);
    EXPECT_EQ(verdict.text, verdicts[0].text);
  }
  return verdicts[0];
}

Claim ClaimOf(const State& left, const State& found) {
  Claim claim;
  claim.epoch = 17;
  claim.left = left.Digests(1);
  claim.found = found.Digests(1);
  return claim;
}

TEST(Consensus, NamesTheRankThatContradictsItself) {
  const State good(/*seed=*/6);
  for (const int ranks : {1, 2, 3, 4}) {
    EXPECT_TRUE(CompareAll(ranks, [&](int) { return ClaimOf(good, good); }).ranks.empty());
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      const int victim = static_cast<int>(Rng(seed).Below(ranks));
      State bad(/*seed=*/6);
      const std::string where = Flip(bad, seed);
      const Verdict verdict = CompareAll(ranks, [&](int r) { return ClaimOf(good, r == victim ? bad : good); });
      EXPECT_EQ(verdict.ranks, std::vector<int>{victim}) << where;
      EXPECT_NE(verdict.text.find(where), std::string::npos) << verdict.text;
    }
  }
}

// A fault during the update itself: the rank's own digests agree with one another.
TEST(Consensus, NamesAllWhoDifferWhereNobodyContradictsItself) {
  const State good(/*seed=*/7);
  for (const int ranks : {2, 3, 4}) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      const int victim = static_cast<int>(Rng(seed).Below(ranks));
      State bad(/*seed=*/7);
      const std::string where = Flip(bad, seed);
      const Verdict verdict =
          CompareAll(ranks, [&](int r) { return r == victim ? ClaimOf(bad, bad) : ClaimOf(good, good); });
      EXPECT_EQ(verdict.ranks, ranks == 2 ? std::vector<int>({0, 1}) : std::vector<int>{victim}) << verdict.text;
      EXPECT_NE(verdict.text.find(where), std::string::npos) << verdict.text;
    }
  }
  // Two against two: nobody can say.
  State bad(/*seed=*/7);
  Flip(bad, 3);
  const Verdict verdict = CompareAll(4, [&](int r) { return r < 2 ? ClaimOf(bad, bad) : ClaimOf(good, good); });
  EXPECT_EQ(verdict.ranks, std::vector<int>({0, 1, 2, 3}));
}

TEST(Consensus, ComparesOnlyReplicas) {
  const State part[] = {State(/*seed=*/8), State(/*seed=*/9)};
  const auto claim = [&](int r) {
    Claim claim = ClaimOf(part[r % 2], part[r % 2]);
    claim.replica = r % 2;
    return claim;
  };
  EXPECT_TRUE(CompareAll(4, claim).ranks.empty());
  State bad(/*seed=*/9);
  Flip(bad, 4);
  const Verdict verdict = CompareAll(4, [&](int r) {
    Claim changed = claim(r);
    if (r == 3) changed.left = changed.found = bad.Digests(1);
    return changed;
  });
  EXPECT_EQ(verdict.ranks, std::vector<int>({1, 3})) << verdict.text;
}

TEST(Consensus, ComparesOwnedStateWithItselfOnly) {
  const State shared(/*seed=*/10), own[] = {State(/*seed=*/11), State(/*seed=*/12)};
  const auto claim = [&](int r, const State& found) {
    Claim claim = ClaimOf(shared, shared);
    claim.own_left = own[r].Digests(1);
    claim.own_found = found.Digests(1);
    return claim;
  };
  EXPECT_TRUE(CompareAll(2, [&](int r) { return claim(r, own[r]); }).ranks.empty());
  State bad(/*seed=*/12);
  const std::string where = Flip(bad, 5);
  const Verdict verdict = CompareAll(2, [&](int r) { return claim(r, r == 1 ? bad : own[r]); });
  EXPECT_EQ(verdict.ranks, std::vector<int>{1});
  EXPECT_NE(verdict.text.find(where), std::string::npos) << verdict.text;
}

// Two groups of two that share a model: what is of all is compared among all four, what one of each group has with its
// like.
TEST(Consensus, ComparesPartsAmongThoseWhoHoldThem) {
  const State shared(/*seed=*/16), part[] = {State(/*seed=*/17), State(/*seed=*/18)};
  const auto claim = [&](int r, const State& left, const State& found) {
    Claim claim = ClaimOf(shared, shared);
    claim.part = r % 2;
    claim.part_left = left.Digests(1);
    claim.part_found = found.Digests(1);
    return claim;
  };
  EXPECT_TRUE(CompareAll(4, [&](int r) { return claim(r, part[r % 2], part[r % 2]); }).ranks.empty());
  State bad(/*seed=*/18);
  const std::string where = Flip(bad, 5);
  const Verdict changed = CompareAll(4, [&](int r) { return claim(r, part[r % 2], r == 3 ? bad : part[r % 2]); });
  EXPECT_EQ(changed.ranks, std::vector<int>{3});
  EXPECT_NE(changed.text.find(where), std::string::npos) << changed.text;
  const Verdict updated = CompareAll(4, [&](int r) {
    const State& mine = r == 3 ? bad : part[r % 2];
    return claim(r, mine, mine);
  });
  EXPECT_EQ(updated.ranks, std::vector<int>({1, 3}));
  EXPECT_NE(updated.text.find(where), std::string::npos) << updated.text;
  const State other(/*seed=*/19);
  const Verdict of_all = CompareAll(4, [&](int r) {
    Claim mine = claim(r, part[r % 2], part[r % 2]);
    if (r == 2) mine.left = mine.found = other.Digests(1);
    return mine;
  });
  EXPECT_EQ(of_all.ranks, std::vector<int>{2}) << "three against one";
  // Every rank has a part of its own, of another length: what is of all is named, and nothing else.
  State shared_bad(/*seed=*/16);
  const std::string where_of_all = Flip(shared_bad, 5);
  const Verdict of_parts = CompareAll(2, [&](int r) {
    const State& mine = r == 1 ? shared_bad : shared;
    Claim claim = ClaimOf(mine, mine);
    claim.part = r;
    claim.part_left = claim.part_found = part[r].Digests(1);
    if (r == 1) claim.part_left.pop_back(), claim.part_found.pop_back();
    return claim;
  });
  EXPECT_EQ(of_parts.ranks, std::vector<int>({0, 1}));
  EXPECT_NE(of_parts.text.find("differ in " + where_of_all), std::string::npos) << of_parts.text;
  EXPECT_EQ(of_parts.text.find("number of tensors"), std::string::npos) << of_parts.text;
  EXPECT_EQ(of_parts.text.find(" more"), std::string::npos) << of_parts.text;
}

TEST(Consensus, ARankThatMissedAnUpdateIsNamed) {
  const State good(/*seed=*/13);
  const Verdict verdict = CompareAll(3, [&](int r) {
    Claim claim = ClaimOf(good, good);
    claim.epoch -= r == 1;
    return claim;
  });
  EXPECT_EQ(verdict.ranks, std::vector<int>{1}) << verdict.text;
}

TEST(Consensus, AtTheStartNobodyContradictsItself) {
  const State good(/*seed=*/14);
  const auto claim = [&](int) {
    Claim claim = ClaimOf(good, good);
    claim.left.clear();
    return claim;
  };
  EXPECT_TRUE(CompareAll(2, claim).ranks.empty());
}

TEST(Consensus, BytesDoNotDependOnTheModelWhileAllIsWell) {
  const State good(/*seed=*/15);
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    Claim claim = ClaimOf(good, good);
    ASSERT_TRUE(Consensus(comm, claim).ok());
    const int64_t all = comm.traffic().sent_bytes;
    claim.left.resize(1);
    claim.found.resize(1);
    ASSERT_TRUE(Consensus(comm, claim).ok());
    EXPECT_EQ(comm.traffic().sent_bytes, 2 * all);
    EXPECT_EQ(all, 2 * kConsensusBytes);
    EXPECT_EQ(kConsensusBytes, 48);
    if (comm.rank() == 2) claim.found[0].of[0].first ^= 1;
    const absl::Status status = Consensus(comm, claim);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_NE(std::string(status.message()).find("rank 2"), std::string::npos) << status.ToString();
  });
}

}  // namespace
}  // namespace filigree::exchange
