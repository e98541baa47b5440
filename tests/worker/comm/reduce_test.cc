#include "worker/comm/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/worker/comm/numbers.h"

namespace filigree::comm {
namespace {

// More ranks than the other tests can start; counts around a block.
TEST(ReduceTest, TreesOfAnySize) {
  for (int size = 1; size <= 17; ++size) {
    for (int64_t count : {0, 1, 511, 512, 513, 1500}) {
      std::vector<std::vector<float>> parts;
      std::vector<const void*> pointers;
      parts.reserve(size);
      pointers.reserve(size);
      for (int r = 0; r < size; ++r) parts.push_back(Rough(r, count));
      for (const auto& part : parts) pointers.push_back(part.data());
      std::vector<float> expected(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) {
        std::vector<float> terms;
        terms.reserve(size);
        for (const auto& part : parts) terms.push_back(part[i]);
        expected[i] = TreeSum(terms);
      }
      std::vector<float> out(static_cast<size_t>(count), -1.0F);
      ReduceTree(pointers, count, ElementType::kFloat32, ReduceOp::kSum, out.data());
      EXPECT_EQ(out, expected) << size << " parts of " << count;
      // In place of any part.
      for (int r = 0; r < size; ++r) {
        const std::vector<float> kept = parts[r];
        ReduceTree(pointers, count, ElementType::kFloat32, ReduceOp::kSum, parts[r].data());
        EXPECT_EQ(parts[r], expected) << size << " parts of " << count << " into " << r;
        parts[r] = kept;
      }
    }
  }
}

TEST(ReduceTest, NumbersThatAreNoneAreNotLost) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax}) {
    for (size_t where = 0; where < 3; ++where) {
      std::vector<float> values = {1.0F, 2.0F, 3.0F};
      values[where] = nan;
      const std::vector<const void*> parts = {&values[0], &values[1], &values[2]};
      float out = 0.0F;
      ReduceTree(parts, 1, ElementType::kFloat32, op, &out);
      EXPECT_TRUE(std::isnan(out)) << Name(op) << ' ' << where;
    }
  }
}

TEST(ReduceTest, IntegersWrap) {
  const int32_t a = std::numeric_limits<int32_t>::max(), b = 2;
  const std::vector<const void*> parts = {&a, &b};
  int32_t out = 0;
  ReduceTree(parts, 1, ElementType::kInt32, ReduceOp::kSum, &out);
  EXPECT_EQ(out, std::numeric_limits<int32_t>::min() + 1);
}

}  // namespace
}  // namespace filigree::comm
