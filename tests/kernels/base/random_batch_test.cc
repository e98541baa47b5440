#include "kernels/base/random_batch.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/random.h"
#include "tests/support/avx2_only.h"

namespace filigree::kernels {
namespace {

constexpr uint64_t kSeeds[] = {0, 42, 0xfedcba9876543210u};
constexpr uint64_t kStream = 0x9e3779b97f4a7c15u;

void ExpectSingleDraws(uint64_t seed, uint64_t first, int64_t n) {
  std::vector<uint64_t> bits(n + 1, 7);
  RandomBits(seed, kStream, first, n, bits.data());
  const CounterRng rng(seed, kStream);
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(bits[i], rng.Bits(first + i)) << "seed " << seed << ", draw " << first + i;
  EXPECT_EQ(bits[n], 7u) << "written past the end";
}

TEST(RandomBatch, GivesTheBitsOfSingleDraws) {
  for (const uint64_t seed : kSeeds) {
    for (const int64_t n : {0, 1, 7, 15, 16, 31, 32, 33, 64, 100, 1000}) {
      ExpectSingleDraws(seed, 0, n);
      ExpectSingleDraws(seed, 12345, n);
      // Indices of more than 32 bits, and across that border.
      ExpectSingleDraws(seed, 0xfffffff0u, n);
      ExpectSingleDraws(seed, 0x123456789abu, n);
    }
  }
}

TEST(RandomBatch, IsTheSameWithoutAvx512) {
  const testing_support::Avx2Only only;
  for (const uint64_t seed : kSeeds) ExpectSingleDraws(seed, 0xffffffd0u, 333);
}

}  // namespace
}  // namespace filigree::kernels
