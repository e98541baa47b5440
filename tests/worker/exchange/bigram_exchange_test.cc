#include "worker/exchange/bigram_exchange.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/adam/adam.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/ranks.h"
#include "tests/support/tiles.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/subtree.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using testing_support::Rng;

constexpr int64_t kRows = 61, kCols = 61;
using Table = std::vector<float>;

// The gradient of one logical shard: few rows, of very different sizes so that the order of additions shows; -0 too.
Table Leaf(int64_t leaf, double touched, bool exact) {
  Rng rng(/*seed=*/500 + leaf);
  Table table(kRows * kCols);
  for (int64_t r = 0; r < kRows; ++r) {
    if (rng.Uniform() >= touched) continue;
    for (int64_t c = 0; c < kCols; ++c) {
      const float value = rng.Below(6) ? rng.Normal() * static_cast<float>(1 << rng.Below(12)) : -0.0f;
      table[r * kCols + c] = exact ? std::round(value * 64) / 64 : value;
    }
  }
  return table;
}

struct Node {
  Subtree subtree;
  Table table;
};

// The subtrees of leaves [begin, end); with `all` the whole tree.
std::vector<Node> Nodes(int64_t begin, int64_t end, bool all, double touched, bool exact = false) {
  std::vector<Node> stack;
  const auto add = [](Node& below, const Node& top) {
    kernels::AddInPlace(top.table.data(), std::ssize(top.table), below.table.data());
  };
  for (int64_t leaf = begin; leaf < end; ++leaf) {
    stack.push_back({{leaf, 1}, Leaf(leaf, touched, exact)});
    Collapse(stack, false, add);
  }
  if (all) Collapse(stack, true, add);
  return stack;
}

std::vector<BigramExchange::Part> PartsOf(std::vector<Node>& nodes) {
  std::vector<BigramExchange::Part> parts;
  parts.reserve(nodes.size());
  for (Node& node : nodes) parts.push_back({node.subtree, node.table.data()});
  return parts;
}

TEST(BigramExchange, HasTheBitsOfARankAlone) {
  for (const double touched : {0.0, 0.1, 0.6, 1.0}) {
    for (const int64_t leaves : {4, 5, 7}) {
      const Table expected = Nodes(0, leaves, true, touched)[0].table;
      for (const int ranks : {1, 2, 3, 4}) {
        testing_support::RunRanks(ranks, [&, leaves = leaves](std::unique_ptr<comm::Transport> transport) {
          comm::Communicator comm(std::move(transport), {});
          kernels::ThreadPool pool(2);
          BigramExchange exchange(comm, leaves, {kRows, kCols}, pool);
          const parallel::LeafRange range = parallel::LeavesOf(leaves, comm.rank(), comm.size());
          for (int step = 0; step < 2; ++step) {
            std::vector<Node> nodes = Nodes(range.begin, range.end, false, touched);
            const absl::Status status = exchange.Sum(PartsOf(nodes), {});
            ASSERT_TRUE(status.ok()) << status.ToString();
            EXPECT_EQ(std::memcmp(nodes[0].table.data(), expected.data(), expected.size() * sizeof(float)), 0)
                << leaves << " leaves, rank " << comm.rank() << " of " << ranks;
          }
        });
      }
    }
  }
}

TEST(BigramExchange, SendsTouchedRowsOnly) {
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    comm::Communicator comm(std::move(transport), {});
    kernels::ThreadPool pool(1);
    BigramExchange exchange(comm, 2, {kRows, kCols}, pool);
    Node node = {{comm.rank(), 1}, Table(kRows * kCols)};
    // Rank 0 owns rows below 30.
    for (const int64_t row : comm.rank() == 0 ? std::vector<int64_t>{3, 40} : std::vector<int64_t>{4, 5, 50, 51}) {
      node.table[row * kCols + 7] = 1;
    }
    const BigramExchange::Part part = {node.subtree, node.table.data()};
    ASSERT_TRUE(exchange.Sum({&part, 1}, {}).ok());
    const int64_t rows = comm.traffic().sent_bytes / (kCols * 4);
    EXPECT_EQ(rows, comm.rank() == 0 ? 1 + 3 : 2 + 3) << "what it touched of the other's, and the sums of its own";
    EXPECT_LT(comm.traffic().sent_bytes - rows * kCols * 4, 80);
    for (const int64_t row : {3, 40, 4, 5, 50, 51}) EXPECT_EQ(node.table[row * kCols + 7], 1);
  });
}

TEST(BigramExchange, TheLargestEntriesLoseNothing) {
  constexpr int64_t kLeaves = 5;
  constexpr int kSteps = 6;
  Table truth = Nodes(0, kLeaves, true, 0.5, true)[0].table;  // sums of multiples of 1/64 are exact
  for (float& value : truth) value *= kSteps;
  for (const bool balanced : {false, true}) {
    for (const int ranks : {1, 2, 3}) {
      std::vector<Table> residuals(ranks, Table(kRows * kCols)), arrived(ranks, Table(kRows * kCols));
      testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
        comm::Communicator comm(std::move(transport), {});
        kernels::ThreadPool pool(1);
        BigramExchange exchange(comm, kLeaves, {kRows, kCols, 100, balanced}, pool);
        const parallel::LeafRange range = parallel::LeavesOf(kLeaves, comm.rank(), comm.size());
        for (int step = 0; step < kSteps; ++step) {
          std::vector<Node> nodes = Nodes(range.begin, range.end, false, 0.5, true);
          const absl::Status status = exchange.Sum(PartsOf(nodes), residuals[comm.rank()]);
          ASSERT_TRUE(status.ok()) << status.ToString();
          int64_t nonzero = 0;
          for (size_t i = 0; i < truth.size(); ++i) {
            nonzero += nodes[0].table[i] != 0;
            arrived[comm.rank()][i] += nodes[0].table[i];
          }
          EXPECT_GT(nonzero, 0);
          EXPECT_LE(nonzero, balanced ? 100 : 100 * ranks);
        }
      });
      for (int r = 0; r < ranks; ++r) EXPECT_EQ(arrived[r], arrived[0]);
      for (const Table& residual : residuals) {
        for (size_t i = 0; i < truth.size(); ++i) arrived[0][i] += residual[i];
      }
      EXPECT_EQ(arrived[0], truth) << ranks << " ranks, balanced " << balanced;
    }
  }
}

}  // namespace
}  // namespace filigree::exchange
