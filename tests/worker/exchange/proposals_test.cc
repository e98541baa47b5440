#include "worker/exchange/proposals.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/weight_topk/entry.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

struct Proposed {
  std::vector<uint32_t> positions;
  std::vector<float> scores;
};

// votes: few different scores, so many ties.
Proposed Draw(uint64_t seed, int64_t bound, double density, bool votes) {
  Rng rng(seed);
  Proposed proposed;
  for (int64_t i = 0; i < bound; ++i) {
    if (rng.Uniform() >= density) continue;
    proposed.positions.push_back(static_cast<uint32_t>(i));                                  // NOLINT
    proposed.scores.push_back(votes ? static_cast<float>(rng.Below(7)) - 3 : rng.Normal());  // NOLINT
  }
  return proposed;
}

// By sorting all proposals.
std::vector<uint32_t> Expected(const std::vector<Proposed>& ranks, int64_t wanted) {
  std::vector<std::tuple<int64_t, uint32_t, size_t, float>> all;  // -magnitude, position, shard, score
  for (size_t r = 0; r < ranks.size(); ++r) {
    for (size_t j = 0; j < ranks[r].positions.size(); ++j) {
      all.push_back(
          {-int64_t{kernels::MagnitudeBits(ranks[r].scores[j])}, ranks[r].positions[j], r, ranks[r].scores[j]});
    }
  }
  std::sort(all.begin(), all.end());
  size_t survivors = std::min<size_t>(wanted, all.size());
  // Others who propose the last position with the same magnitude come along.
  while (0 < survivors && survivors < all.size() && std::get<0>(all[survivors]) == std::get<0>(all[survivors - 1]) &&
         std::get<1>(all[survivors]) == std::get<1>(all[survivors - 1])) {
    ++survivors;
  }
  all.resize(survivors);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return std::get<2>(a) < std::get<2>(b); });
  std::map<uint32_t, double> sums;
  for (const auto& [magnitude, position, shard, score] : all) sums[position] += score;
  std::vector<std::pair<int64_t, uint32_t>> order;
  order.reserve(sums.size());
  for (const auto& [position, sum] : sums)
    order.push_back({-int64_t{kernels::MagnitudeBits(static_cast<float>(sum))}, position});
  std::sort(order.begin(), order.end());
  std::vector<uint32_t> positions;
  for (const auto& [magnitude, position] : order) {
    if (std::ssize(positions) < wanted) positions.push_back(position);
  }
  return positions;
}

constexpr int64_t kShards = 5;

// However many ranks share the shards.
TEST(Proposals, AgreeOnTheLargestOfAll) {
  for (const int ranks : {1, 2, 3, 4, 5}) {
    struct Case {
      int64_t bound, wanted;
      std::vector<Proposed> proposed;
    };
    std::vector<Case> cases;
    uint64_t seed = 1000;  // the same cases, another cut
    for (const bool votes : {false, true}) {
      for (const int64_t bound : {1, 100, 5000}) {
        for (const int64_t wanted : {int64_t{0}, int64_t{1}, bound / 10, bound}) {
          Case c = {bound, wanted, {}};
          for (int n = 0; n < kShards; ++n) c.proposed.push_back(Draw(++seed, bound, n == 1 ? 0 : 0.3, votes));
          cases.push_back(std::move(c));
        }
      }
    }
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      comm::Communicator comm(std::move(transport), {});
      std::vector<Proposals> matrices;
      for (const Case& c : cases) {
        Proposals& mine = matrices.emplace_back(Proposals{c.bound, c.wanted, {}});
        const parallel::LeafRange shards = parallel::LeavesOf(kShards, comm.rank(), ranks);
        for (int64_t n = shards.begin; n < shards.end; ++n) {
          mine.lists.push_back({c.proposed[n].positions, c.proposed[n].scores});
        }
      }
      const auto agreed = AgreeOnNewcomers(comm, kShards, matrices);
      ASSERT_TRUE(agreed.ok()) << agreed.status().ToString();
      for (size_t i = 0; i < cases.size(); ++i) {
        EXPECT_EQ((*agreed)[i], Expected(cases[i].proposed, cases[i].wanted))
            << "case " << i << ", rank " << comm.rank() << " of " << ranks;
      }
    });
  }
}

TEST(Proposals, OnlySurvivorsTravel) {
  const int64_t bound = 1 << 20, wanted = 500;
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    const Proposed mine = Draw(5 + comm.rank(), bound, 0.05, false);
    const Proposals matrix = {bound, wanted, {{mine.positions, mine.scores}}};
    ASSERT_TRUE(AgreeOnNewcomers(comm, 2, {&matrix, 1}).ok());
    const comm::Traffic traffic = comm.traffic();
    EXPECT_LT(traffic.sent_bytes + traffic.received_bytes, 2 * (2048 + 1024 + 1024 + 32) * 4 + 2 * 8192 + wanted * 6);
    EXPECT_GT(mine.positions.size(), 50'000u);
  });
}

}  // namespace
}  // namespace filigree::exchange
