#include "kernels/digest/digest.h"

#include <bit>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/avx2_only.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::Rng;

std::vector<float> Values(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(n);
  for (float& value : values) {
    value = rng.Below(3) ? rng.Normal() : rng.Below(4) ? 0.0f : rng.Below(2) ? -0.0f : std::nanf("");
  }
  return values;
}

Digest Of(const std::vector<float>& values, uint32_t index = 0) {
  Digest digest;
  const float* array = values.data();
  AddToDigests(&array, 1, std::ssize(values), index, &digest);
  return digest;
}

TEST(Digest, HasTheReferencesBitsInBothInstructionSets) {
  for (const int64_t n : {0, 1, 7, 8, 9, 15, 16, 17, 40, 1001}) {
    const std::vector<float> a = Values(n, 1), b = Values(n, 2), c = Values(n, 3), d = Values(n, 8), e = Values(n, 9);
    const float* arrays[kMostDigestedArrays] = {a.data(), b.data(), c.data(), d.data(), e.data()};
    std::vector<uint32_t> indices(n);
    Rng rng(/*seed=*/4);
    for (uint32_t& at : indices) at = static_cast<uint32_t>(rng.Below(0xffffffffu));
    for (const uint32_t index : {0u, 12345u, 0xfff00000u}) {
      for (int count = 1; count <= kMostDigestedArrays; ++count) {
        Digest plain[kMostDigestedArrays], fast[kMostDigestedArrays], narrow[kMostDigestedArrays];
        ref::AddToDigests(arrays, count, n, index, plain);
        ref::AddToDigests(arrays, count, indices.data(), n, plain);
        const auto add = [&](Digest* sums) {
          AddToDigests(arrays, count, n, index, sums);
          AddToDigests(arrays, count, indices.data(), n, sums);
        };
        add(fast);
        const Avx2Only only;
        add(narrow);
        for (int i = 0; i < kMostDigestedArrays; ++i) {
          EXPECT_EQ(fast[i], plain[i]) << n << " values of array " << i << " of " << count;
          EXPECT_EQ(narrow[i], plain[i]) << n << " values of array " << i << " of " << count;
        }
      }
    }
  }
}

TEST(Digest, OfPartsIsTheSumOfTheirs) {
  const std::vector<float> values = Values(1000, 5);
  Digest parts;
  for (const auto& [begin, end] : {std::pair{600, 1000}, {0, 13}, {13, 600}}) {
    parts += Of({values.begin() + begin, values.begin() + end}, begin);
  }
  EXPECT_EQ(parts, Of(values));
}

TEST(Digest, DoesNotDependOnStorage) {
  const std::vector<float> values = Values(500, 6);
  std::vector<float> stored;
  std::vector<uint32_t> indices;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::bit_cast<uint32_t>(values[i]) == 0 && i % 3 != 0) continue;  // some zeros are stored
    stored.push_back(values[i]);
    indices.push_back(static_cast<uint32_t>(7000 + i));
  }
  Digest digest;
  const float* array = stored.data();
  AddToDigests(&array, 1, indices.data(), std::ssize(stored), &digest);
  EXPECT_EQ(digest, Of(values, 7000));
  EXPECT_NE(digest, Of(values, 7001)) << "it says where values stand";
}

TEST(Digest, FindsEveryChangedBit) {
  std::vector<float> values = Values(64, 7);
  const Digest before = Of(values);
  for (float& value : values) {
    const float was = value;
    for (int bit = 0; bit < 32; ++bit) {
      value = std::bit_cast<float>(std::bit_cast<uint32_t>(was) ^ (1u << bit));
      const Digest after = Of(values);
      ASSERT_NE(after.first, before.first);
      ASSERT_NE(after.second, before.second);
    }
    value = was;
  }
}

TEST(Digest, FindsExchangedAndShiftedValues) {
  Rng rng(/*seed=*/8);
  std::vector<float> values(300);
  for (float& value : values) value = rng.Normal();
  std::set<std::pair<uint64_t, uint64_t>> seen;
  const auto note = [&] {
    const Digest digest = Of(values);
    EXPECT_TRUE(seen.insert({digest.first, digest.second}).second);
  };
  note();
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = i + 1; j < values.size(); j += 7) {
      std::swap(values[i], values[j]);
      note();
      std::swap(values[i], values[j]);
    }
    // Opposite changes of neighbours, that a plain sum would not see.
    auto* bits = reinterpret_cast<uint32_t*>(values.data());
    const size_t next = (i + 1) % values.size();
    bits[i] += 5, bits[next] -= 5;
    note();
    bits[i] -= 5, bits[next] += 5;
  }
  EXPECT_EQ(Of(values).first, Of(values).first);
}

// Keys of neighbours differ in half of their bits: a weak mixing would let patterns of changes cancel.
TEST(Digest, KeysOfNeighboursAreUnlikeEachOther) {
  double x = 0, y = 0;
  const int n = 100'000;
  for (uint32_t i = 0; i < n; ++i) {
    const auto a = Digest::KeysOf(i), b = Digest::KeysOf(i + 1);
    x += std::popcount(a.x ^ b.x);
    y += std::popcount(a.y ^ b.y);
  }
  EXPECT_NEAR(x / n, 16, 1);
  EXPECT_NEAR(y / n, 16, 1);
}

}  // namespace
}  // namespace filigree::kernels
