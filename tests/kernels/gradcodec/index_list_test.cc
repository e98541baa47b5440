#include "kernels/gradcodec/index_list.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;
using Indices = std::vector<uint32_t>;
using Bytes = std::vector<uint8_t>;

Indices RandomSubset(int64_t bound, double density, uint64_t seed) {
  Rng rng(seed);
  Indices indices;
  indices.reserve(static_cast<size_t>(static_cast<double>(bound) * density * 1.2) + 16);
  for (int64_t i = 0; i < bound; ++i) {
    if (rng.Uniform() < density) indices.push_back(static_cast<uint32_t>(i));
  }
  return indices;
}

Bytes Encoded(const Indices& indices, int64_t bound) {
  Bytes bytes(EncodedIndexBytes(indices, bound) + 2, 0xa5);
  EncodeIndices(indices, bound, std::span(bytes).first(bytes.size() - 2));
  EXPECT_EQ(bytes[bytes.size() - 1], 0xa5) << "written beyond the end";
  EXPECT_EQ(bytes[bytes.size() - 2], 0xa5) << "written beyond the end";
  bytes.resize(bytes.size() - 2);
  return bytes;
}

absl::StatusOr<Indices> Decoded(const Bytes& bytes, int64_t bound) {
  const auto count = IndexCount(bytes, bound);
  if (!count.ok()) return count.status();
  Indices out(*count);
  absl::Status status = DecodeIndices(bytes, bound, out);
  if (!status.ok()) return status;
  return out;
}

void ExpectComesBack(const Indices& indices, int64_t bound) {
  const auto back = Decoded(Encoded(indices, bound), bound);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(*back, indices) << indices.size() << " below " << bound;
}

TEST(IndexList, ComesBackAtEveryDensityAndSize) {
  uint64_t seed = 100;
  for (const int64_t bound : {1, 2, 7, 8, 9, 63, 64, 65, 127, 129, 1000, 4096, 30011}) {
    for (const double density : {0.0, 0.001, 0.02, 1.0 / 16, 0.25, 0.5, 0.9, 0.999, 1.0}) {
      ExpectComesBack(RandomSubset(bound, density, ++seed), bound);
    }
    ExpectComesBack({0}, bound);
    ExpectComesBack({static_cast<uint32_t>(bound - 1)}, bound);
  }
  ExpectComesBack({}, 0);
}

TEST(IndexList, ComesBackWhereIndicesLieInClumps) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    Indices indices;
    int64_t bound = 0;
    for (int run = 0; run < 40; ++run) {
      bound += static_cast<int64_t>(std::exp2(rng.Uniform() * 25));
      for (uint64_t n = rng.Below(90); n > 0; --n) {
        indices.push_back(static_cast<uint32_t>(bound));  // NOLINT(performance-inefficient-vector-operation)
        bound += static_cast<int64_t>(1 + (rng.Below(4) == 0 ? rng.Below(50) : 0));
      }
    }
    ExpectComesBack(indices, bound + 1);
  }
}

TEST(IndexList, ComesBackAtTheLargestBound) {
  const int64_t bound = int64_t{1} << 32;
  ExpectComesBack({0}, bound);
  ExpectComesBack({0xffffffff}, bound);
  ExpectComesBack({0, 1, 2, 0x80000000, 0xfffffffe, 0xffffffff}, bound);
}

TEST(IndexList, IsNeverLongerThanABitmap) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const int64_t bound = 5000 + static_cast<int64_t>(seed);
    const Indices indices = RandomSubset(bound, static_cast<double>(seed) / 20, seed);
    EXPECT_LE(EncodedIndexBytes(indices, bound), 1 + (bound + 7) / 8);
  }
  EXPECT_EQ(EncodedIndexBytes({}, 1'000'000), 1);
  EXPECT_EQ(EncodedIndexBytes(RandomSubset(1000, 1, 1), 1000), 1);
}

// The bound is the entropy of a random subset: H(p) / p bits an index.
TEST(IndexList, IsWithinATwentiethOfTheEntropyOfARandomSubset) {
  for (const int one_in : {16, 32, 64, 128, 256, 512, 1000}) {
    const int64_t bound = int64_t{1} << 21;
    const Indices indices = RandomSubset(bound, 1.0 / one_in, /*seed=*/7);
    const double p = static_cast<double>(indices.size()) / static_cast<double>(bound);
    const double entropy = (-p * std::log2(p) - (1 - p) * std::log2(1 - p)) / p;
    const double bits =
        8.0 * static_cast<double>(EncodedIndexBytes(indices, bound)) / static_cast<double>(indices.size());
    std::printf("density 1/%-4d  %.3f bits an index, entropy %.3f, %.2f %% more\n", one_in, bits, entropy,
                100 * (bits / entropy - 1));
    EXPECT_GT(bits, 0.98 * entropy);
    EXPECT_LT(bits, 1.05 * entropy);
  }
}

TEST(IndexList, RefusesEveryListThatIsCutOffOrTooLong) {
  for (const int64_t bound : {1000, 20'000}) {
    for (const double density : {0.004, 0.3}) {
      const Bytes bytes = Encoded(RandomSubset(bound, density, /*seed=*/8), bound);
      Bytes longer = bytes;
      longer.push_back(0);
      EXPECT_FALSE(Decoded(longer, bound).ok());
      for (size_t length = 0; length < bytes.size(); ++length) {
        ASSERT_FALSE(Decoded(Bytes(bytes.begin(), bytes.begin() + static_cast<int64_t>(length)), bound).ok()) << length;
      }
    }
  }
}

// Whatever the bytes are: a Status, or a list that ascends below the bound.
void ExpectSound(const Bytes& bytes, int64_t bound, bool* accepted) {
  const auto decoded = Decoded(bytes, bound);
  *accepted = decoded.ok();
  if (!decoded.ok()) {
    EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
    return;
  }
  EXPECT_TRUE(decoded->empty() || decoded->back() < bound);
  for (size_t i = 1; i < decoded->size(); ++i) ASSERT_LT((*decoded)[i - 1], (*decoded)[i]);
}

TEST(IndexList, WithstandsDamagedBytes) {
  Rng rng(/*seed=*/9);
  int refused = 0;
  const int trials = 20'000;
  for (int trial = 0; trial < trials; ++trial) {
    const auto bound = static_cast<int64_t>(1 + rng.Below(3000));
    Bytes bytes = Encoded(RandomSubset(bound, std::exp2(-8 * rng.Uniform()), 1000 + trial), bound);
    for (uint64_t flips = 1 + rng.Below(4); flips > 0; --flips) {
      bytes[rng.Below(bytes.size())] ^= static_cast<uint8_t>(1u << rng.Below(8));
    }
    bool accepted = false;
    ExpectSound(bytes, bound, &accepted);
    refused += !accepted;
  }
  EXPECT_GT(refused, trials / 10);
}

TEST(IndexList, WithstandsAnyBytes) {
  Rng rng(/*seed=*/10);
  for (int trial = 0; trial < 20'000; ++trial) {
    Bytes bytes(rng.Below(60));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.Below(256) & rng.Below(256));
    if (!bytes.empty() && rng.Below(3)) bytes[0] = 3;
    if (bytes.size() > 5 && rng.Below(2)) bytes[2] = bytes[3] = bytes[4] = 0;
    bool accepted = false;
    ExpectSound(bytes, static_cast<int64_t>(rng.Below(uint64_t{1} << (1 + rng.Below(32)))), &accepted);
  }
}

TEST(IndexList, DoesNotLetALengthMakeAReaderAllocate) {
  Bytes bytes = {3, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4};
  EXPECT_FALSE(IndexCount(bytes, int64_t{1} << 32).ok());
}

TEST(IndexListDeathTest, TakesNoIndicesThatDoNotAscend) {
  const Indices indices = {5, 4};
  EXPECT_DEATH(EncodedIndexBytes(indices, 1000), "do not ascend");
  const Indices same = {5, 5};
  EXPECT_DEATH(EncodedIndexBytes(same, 1000), "do not ascend");
  const Indices high = {5, 1000};
  EXPECT_DEATH(EncodedIndexBytes(high, 1000), "index 1000 of 1000");
}

}  // namespace
}  // namespace filigree::kernels
