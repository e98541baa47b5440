// Which grids fit, what is said of those that do not, and who owns which shards.

#include "worker/parallel/grid.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace filigree::parallel {
namespace {

using testing::HasSubstr;

config::Settings Wanted(int64_t data, int64_t tensor, int64_t shards = 4) {
  config::Settings settings;
  settings.parallel.data = data;
  settings.parallel.tensor = tensor;
  settings.train.shards = shards;
  return settings;
}

TEST(Grid, WhatIsNotNamedIsWhatTheWorldLeaves) {
  const absl::StatusOr<Grid> grid = FitGrid(Wanted(0, 1), 3);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->data, 3);
  EXPECT_EQ(grid->tensor, 1);
}

TEST(Grid, OneThatDoesNotFillTheWorldIsRefusedWithWhatWould) {
  const absl::Status status = FitGrid(Wanted(2, 1), 3).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("parallel.data 2 x parallel.tensor 1 are 2 ranks, and 3 were started"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 ranks would fit as parallel.data x parallel.tensor = 3x1"));
}

TEST(Grid, ARankWithoutAShardIsRefusedWithTheRanksThatFit) {
  const absl::Status status = FitGrid(Wanted(0, 1, 2), 3).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.shards is 2"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("start 2 of them as 2x1"));
}

TEST(Grid, RanksThatShareAModelDivideItsGroups) {
  config::Settings settings = Wanted(0, 2);
  EXPECT_THAT(std::string(FitGrid(settings, 4).status().message()), HasSubstr("model.tensor_groups is 1"));
  settings.model.tensor_groups = 4;
  const absl::StatusOr<Grid> grid = FitGrid(settings, 4);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->data, 2);
  settings.parallel.tensor = 3;
  EXPECT_THAT(std::string(FitGrid(settings, 3).status().message()), HasSubstr("3x1"));
}

TEST(Grid, LeavesAreContiguousAndNearlyEqual) {
  for (const int64_t leaves : {1, 4, 7, 16}) {
    for (int data = 1; data <= leaves; ++data) {
      int64_t next = 0;
      for (int r = 0; r < data; ++r) {
        const LeafRange range = LeavesOf(leaves, r, data);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.size(), leaves / data);
        EXPECT_LE(range.size(), leaves / data + 1);
        next = range.end;
      }
      EXPECT_EQ(next, leaves);
    }
  }
}

TEST(Grid, RanksOfATensorGroupAreNeighbours) {
  const Grid grid{3, 2};
  EXPECT_EQ(grid.data_rank(2), 1);
  EXPECT_EQ(grid.tensor_rank(2), 0);
  EXPECT_EQ(grid.data_rank(3), 1);
  EXPECT_EQ(grid.tensor_rank(3), 1);
}

}  // namespace
}  // namespace filigree::parallel
