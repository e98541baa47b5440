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
    const std::vector<float> a = Values(n, 1), b = Values(n, 2), c = Values(n, 3);
    const float* arrays[kMostDigestedArrays] = {a.data(), b.data(), c.data()};
    for (const uint32_t index : {0u, 12345u, 0xfff00000u}) {
      for (int count = 1; count <= kMostDigestedArrays; ++count) {
        Digest plain[kMostDigestedArrays], fast[kMostDigestedArrays], narrow[kMostDigestedArrays];
        ref::AddToDigests(arrays, count, n, index, plain);
        AddToDigests(arrays, count, n, index, fast);
        const Avx2Only only;
        AddToDigests(arrays, count, n, index, narrow);
        for (int i = 0; i < kMostDigestedArrays; ++i) {
          EXPECT_EQ(fast[i], plain[i]) << n << " values of array " << i << " of " << count;
          EXPECT_EQ(narrow[i], plain[i]) << n << " values of array " << i << " of " << count;
        }
      }
    }
  }
}

// Entries of rows of `lengths`, one run a row, in memory that ends where it may be read to.
struct Entries {
  explicit Entries(const std::vector<uint32_t>& lengths, uint32_t begin = 0) {
    Rng rng(/*seed=*/4);
    for (size_t r = 0; r < lengths.size(); ++r) {
      runs.push_back({begin, begin + lengths[r], static_cast<uint32_t>(rng.Below(0xffffffffu))});
      begin += lengths[r];
    }
    col_indices.resize(begin + 16);
    for (uint16_t& col : col_indices) col = static_cast<uint16_t>(rng.Below(65536));
    kept.resize((begin + 63) / 64);
    for (uint64_t& word : kept) word = static_cast<uint64_t>(rng.Below(0xffffffffu)) << 32 | rng.Below(0xffffffffu);
    if (begin % 64 != 0) kept.back() &= (uint64_t{1} << (begin % 64)) - 1;
    for (uint64_t seed = 1; seed <= 3; ++seed) values.push_back(Values(begin, seed));
    for (const std::vector<float>& array : values) arrays.push_back(array.data());
  }
  EntryArrays Arrays(int count, bool mask) const {
    return {arrays.data(), count, col_indices.data(), mask ? kept.data() : nullptr};
  }

  std::vector<EntryRun> runs;
  std::vector<uint16_t> col_indices;
  std::vector<uint64_t> kept;
  std::vector<std::vector<float>> values;
  std::vector<const float*> arrays;
};

void ExpectEqual(const EntryDigests& a, const EntryDigests& b) {
  for (int i = 0; i < kMostDigestedArrays; ++i) EXPECT_EQ(a.arrays[i], b.arrays[i]) << "array " << i;
  EXPECT_EQ(a.entries, b.entries);
  EXPECT_EQ(a.kept, b.kept);
}

TEST(Digest, OfEntriesHasTheReferencesBitsInBothInstructionSets) {
  const std::vector<std::vector<uint32_t>> shapes = {
      {}, {0}, {1}, {15}, {16}, {17}, {63, 0, 2}, {5, 9, 2, 31, 1, 1, 200}, {512}, {513, 511}, {1000, 3, 1025}};
  for (const std::vector<uint32_t>& lengths : shapes) {
    for (const uint32_t begin : {0u, 1u, 49u, 64u}) {
      const Entries entries(lengths, begin);
      for (int count = 0; count <= kMostDigestedArrays; ++count) {
        for (const bool mask : {false, true}) {
          SCOPED_TRACE(testing::Message()
                       << lengths.size() << " rows from entry " << begin << ", " << count << " arrays, mask " << mask);
          EntryDigests plain, fast, narrow;
          const EntryArrays of = entries.Arrays(count, mask);
          ref::AddEntries(of, entries.runs.data(), std::ssize(entries.runs), plain);
          AddEntries(of, entries.runs.data(), std::ssize(entries.runs), fast);
          ExpectEqual(fast, plain);
          const Avx2Only only;
          AddEntries(of, entries.runs.data(), std::ssize(entries.runs), narrow);
          ExpectEqual(narrow, plain);
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
  std::vector<float> stored, members(values.size()), kept(values.size());
  std::vector<uint16_t> col_indices;
  std::vector<uint64_t> bitmap(values.size() / 64 + 1);
  const auto one = std::bit_cast<float>(uint32_t{1});
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::bit_cast<uint32_t>(values[i]) == 0 && i % 3 != 0) continue;  // some zeros are stored
    members[i] = one;
    if (i % 5 == 0) bitmap[stored.size() / 64] |= uint64_t{1} << (stored.size() % 64), kept[i] = one;
    stored.push_back(values[i]);
    col_indices.push_back(static_cast<uint16_t>(i));
  }
  const auto n = static_cast<uint32_t>(stored.size());
  col_indices.resize(n + 16);
  EntryDigests digests;
  const float* array = stored.data();
  const EntryRun run = {0, n, 7000};
  AddEntries({&array, 1, col_indices.data(), bitmap.data()}, &run, 1, digests);
  EXPECT_EQ(digests.arrays[0], Of(values, 7000));
  EXPECT_NE(digests.arrays[0], Of(values, 7001)) << "it says where values stand";
  EXPECT_EQ(digests.entries, Of(members, 7000));
  EXPECT_EQ(digests.kept, Of(kept, 7000));
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
