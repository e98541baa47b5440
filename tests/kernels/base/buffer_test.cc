#include "kernels/base/buffer.h"

#include <cstdint>
#include <utility>

#include "gtest/gtest.h"
#include "kernels/base/tile.h"

namespace filigree::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Below, at and above the size from which memory comes straight from the kernel.
const size_t kSizes[] = {1, 63, 64, 65, 4096, kHugePage - 1, kHugePage, kHugePage + 1, 3 * kHugePage + 5};

TEST(Buffer, IsZeroAndAligned) {
  for (const size_t size : kSizes) {
    const Buffer<uint8_t> buffer(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (size < kHugePage ? 64 : kHugePage), 0u) << size;
    for (const uint8_t x : buffer) ASSERT_EQ(x, 0) << size;
  }
}

TEST(Buffer, IsZeroWhereOldMemoryComesBack) {
  for (const size_t size : kSizes) {
    for (int round = 0; round < 3; ++round) {
      Buffer<uint8_t> buffer(size);
      for (uint8_t& x : buffer) {
        ASSERT_EQ(x, 0) << size << ", round " << round;
        x = 0xff;
      }
    }
  }
}

TEST(Buffer, CountsElementsNotBytes) {
  Buffer<double> buffer(5);
  buffer[4] = 1.5;
  EXPECT_EQ(buffer.size(), 5u);
  EXPECT_EQ(buffer.end() - buffer.begin(), 5);
  EXPECT_EQ(buffer.span()[4], 1.5);
}

TEST(Buffer, OfNothingIsEmpty) {
  const Buffer<float> none, zero(0);
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(zero.empty());
  EXPECT_EQ(zero.data(), nullptr);
}

TEST(Buffer, MovesItsMemory) {
  Buffer<float> from(100);
  from[7] = 3;
  const float* data = from.data();
  Buffer<float> to(std::move(from));
  EXPECT_EQ(to.data(), data);
  EXPECT_EQ(to[7], 3.0f);
  Buffer<float> assigned(10);
  assigned = std::move(to);
  EXPECT_EQ(assigned.data(), data);
  EXPECT_EQ(assigned.size(), 100u);
}

TEST(Tile, CountsTilesAndSteps) {
  EXPECT_EQ(TilesOf(1), 1);
  EXPECT_EQ(TilesOf(64), 1);
  EXPECT_EQ(TilesOf(65), 2);
  Buffer<float> data(size_t{2} * 5 * kTileTokens);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  const TileSeries series{data.data(), 5, size_t{5} * kTileTokens};
  EXPECT_EQ(series.at(3, 70), static_cast<float>(5 * 64 + 3 * 64 + 6));
  EXPECT_EQ(series.rows(2, 2).at(1, 70), series.at(3, 70));
  EXPECT_EQ(series.tile(1).rows(3, 1).at(0, 6), series.at(3, 70));
}

}  // namespace
}  // namespace filigree::kernels
