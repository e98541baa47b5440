#include "kernels/gradcodec/coded_entries.h"

#include <bit>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/tiles.h"

namespace filigree::kernels {
namespace {

using testing_support::Rng;

template <typename Value>
struct Entries {
  std::vector<uint32_t> indices;
  std::vector<Value> values;
};

template <typename Value>
Entries<Value> Random(int64_t bound, double density, uint64_t seed) {
  Rng rng(seed);
  Entries<Value> entries;
  for (int64_t i = 0; i < bound; ++i) {
    if (rng.Uniform() >= density) continue;
    entries.indices.push_back(static_cast<uint32_t>(i));                       // NOLINT
    entries.values.push_back(static_cast<Value>(1000 * (1 + rng.Uniform())));  // NOLINT
  }
  return entries;
}

template <typename Value>
std::vector<uint8_t> Encoded(const Entries<Value>& entries, int64_t bound) {
  std::vector<uint8_t> bytes(CodedEntriesBytes<Value>(entries.indices, bound));
  EncodeEntries<Value>(entries.indices, entries.values, bound, bytes);
  return bytes;
}

template <typename Value>
absl::StatusOr<Entries<Value>> Decoded(std::span<const uint8_t> bytes, int64_t bound) {
  const auto count = EntryCount<Value>(bytes, bound);
  if (!count.ok()) return count.status();
  Entries<Value> entries = {std::vector<uint32_t>(*count), std::vector<Value>(*count)};
  absl::Status status = DecodeEntries<Value>(bytes, bound, entries.indices, entries.values);
  if (!status.ok()) return status;
  return entries;
}

template <typename Value>
void ExpectComesBack() {
  uint64_t seed = 0;
  for (const int64_t bound : {0, 1, 50, 3001}) {
    for (const double density : {0.0, 0.01, 0.4, 1.0}) {
      const Entries<Value> entries = Random<Value>(bound, density, ++seed);
      const auto back = Decoded<Value>(Encoded(entries, bound), bound);
      ASSERT_TRUE(back.ok()) << back.status().ToString();
      EXPECT_EQ(back->indices, entries.indices);
      EXPECT_EQ(back->values, entries.values);
    }
  }
}

TEST(CodedEntries, ComeBack) {
  ExpectComesBack<float>();
  ExpectComesBack<uint16_t>();
}

TEST(CodedEntries, KeepTheBitsOfTheirValues) {
  const float values[] = {-0.0f, std::numeric_limits<float>::quiet_NaN(), 1e-44f};
  const Entries<float> entries = {{1, 5, 6}, {std::begin(values), std::end(values)}};
  const auto back = Decoded<float>(Encoded(entries, 9), 9);
  ASSERT_TRUE(back.ok());
  for (size_t i = 0; i < std::size(values); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(back->values[i]), std::bit_cast<uint32_t>(values[i])) << values[i];
  }
}

TEST(CodedEntries, RefuseBytesThatDoNotHoldTogether) {
  const Entries<float> entries = Random<float>(5000, 0.01, /*seed=*/1);
  const std::vector<uint8_t> bytes = Encoded(entries, 5000);
  for (size_t length = 0; length < bytes.size(); ++length) {
    ASSERT_EQ(Decoded<float>(std::span(bytes).first(length), 5000).status().code(), absl::StatusCode::kInvalidArgument)
        << length;
  }
  EXPECT_FALSE(Decoded<uint16_t>(bytes, 5000).ok()) << "values of another size";
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(Decoded<float>(longer, 5000).ok());
  std::vector<uint8_t> huge = bytes;
  std::fill_n(huge.begin(), 8, 0xff);
  EXPECT_FALSE(Decoded<float>(huge, 5000).ok());
  Rng rng(/*seed=*/2);
  for (int trial = 0; trial < 5000; ++trial) {
    std::vector<uint8_t> damaged = bytes;
    damaged[rng.Below(60)] ^= static_cast<uint8_t>(1u << rng.Below(8));
    const auto back = Decoded<float>(damaged, 5000);
    if (back.ok()) {
      EXPECT_LT(back->indices.back(), 5000u);
    }
  }
}

}  // namespace
}  // namespace filigree::kernels
