#include "worker/data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/data/temp_folder.h"
#include "worker/data/shard_writer.h"
#include "worker/data/token_stream.h"

namespace filigree::data {
namespace {

// A stream whose token i is i mod 65536, in shards of `shard_tokens`.
TokenStream Counting(const TempFolder& folder, int64_t size, int64_t shard_tokens) {
  ShardWriter writer(folder.path(), "train", shard_tokens);
  std::vector<uint16_t> tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), uint16_t{0});
  EXPECT_TRUE(writer.Append(tokens).ok());
  std::vector<std::string> paths;
  const std::vector<FileEntry> shards = writer.Finish().value();
  paths.reserve(shards.size());
  for (const FileEntry& shard : shards) paths.push_back(folder / shard.name);
  return TokenStream::Open(paths).value();
}

TEST(PermutationTest, IsOneForEverySizeSeedAndEpoch) {
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4097}) {
    for (const uint64_t seed : {0u, 1u, 77u}) {
      std::vector<int> seen(static_cast<size_t>(n));
      const Permutation permutation(n, seed, seed + 3);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t image = permutation(i);
        ASSERT_TRUE(image >= 0 && image < n);
        ++seen[image];
      }
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n) << n;
    }
  }
}

// Where a window lands must be uniform: over many seeds, the place of window 0 among 10. The statistic is chi-squared
// with 9 degrees of freedom, mean 9 and sd 4.2; 35 is beyond 1 in 10,000. All pairs of first two windows must occur
// too.
TEST(PermutationTest, IsUniformOverSeeds) {
  constexpr int64_t kPlaces = 10, kSeeds = 5000;
  std::vector<double> counts(kPlaces);
  std::set<std::pair<int64_t, int64_t>> firsts;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Permutation permutation(kPlaces, seed, 0);
    ++counts[permutation(0)];
    firsts.emplace(permutation(0), permutation(1));
  }
  double chi_squared = 0;
  for (const double count : counts) chi_squared += std::pow(count - kSeeds / 10.0, 2) / (kSeeds / 10.0);
  EXPECT_LT(chi_squared, 35);
  EXPECT_EQ(firsts.size(), 90u);
}

TEST(PermutationTest, SurvivesTheLargestStreams) {
  const Permutation permutation(int64_t{1} << 50, 9, 2);
  std::set<int64_t> images;
  for (int64_t i = 0; i < 1000; ++i) images.insert(permutation(i));
  EXPECT_EQ(images.size(), 1000u);
}

TEST(LoaderTest, EveryWindowComesOnceAnEpochInAnotherOrderEach) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 1000, 300);
  const Loader loader(stream, 16, 7);
  ASSERT_EQ(loader.sequences_per_epoch(), 62);
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t> windows;
    for (int64_t i = 0; i < 62; ++i) windows.push_back(loader.Window(epoch * 62 + i));
    epochs.push_back(windows);
    std::sort(windows.begin(), windows.end());
    for (int64_t w = 0; w < 62; ++w) ASSERT_EQ(windows[w], w);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(LoaderTest, SequencesAreTheWindowsTokensInAnyOrderOfAsking) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 1000, 77);  // windows cross shards
  const Loader loader(stream, 30, 3);
  for (const int64_t index : {100, 3, 99, 0, 3, 1000000007}) {
    std::vector<int32_t> tokens(30);
    loader.Sequence(index, tokens.data());
    for (int t = 0; t < 30; ++t) ASSERT_EQ(tokens[t], loader.Window(index) * 30 + t);
  }
}

TEST(LoaderTest, SeedsDiffer) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 6400, 6400);
  const Loader a(stream, 64, 1), b(stream, 64, 2), again(stream, 64, 1);
  int same = 0;
  for (int64_t i = 0; i < 100; ++i) {
    same += a.Window(i) == b.Window(i);
    ASSERT_EQ(a.Window(i), again.Window(i));
  }
  EXPECT_LT(same, 10) << "two random orders of 100 share about one place";
}

TEST(LoaderTest, CountsEpochs) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 100, 100);
  const Loader loader(stream, 10, 1);
  EXPECT_EQ(loader.Epochs(0), 0);
  EXPECT_EQ(loader.Epochs(5), 0.5);
  EXPECT_EQ(loader.Epochs(25), 2.5);
}

TEST(LoaderTest, RefusesAStreamShorterThanAWindow) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 15, 15);
  const absl::Status status = Loader::Check(stream, 16);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(std::string(status.message()).find("15"), std::string::npos) << status;
  EXPECT_TRUE(Loader::Check(stream, 15).ok());
}

TEST(ValidationSequencesTest, SpreadEvenlyWithoutOverlap) {
  const TempFolder folder;
  const TokenStream stream = Counting(folder, 1005, 1005);
  EXPECT_EQ(ValidationSequences(stream, 10, 4), (std::vector<int64_t>{0, 250, 500, 750}));
  EXPECT_EQ(ValidationSequences(stream, 10, 1), (std::vector<int64_t>{0}));
  EXPECT_EQ(ValidationSequences(stream, 2000, 4), std::vector<int64_t>{});
  EXPECT_EQ(ValidationSequences(stream, 10, 0), std::vector<int64_t>{});
  const std::vector<int64_t> all = ValidationSequences(stream, 10, 1000000);
  ASSERT_EQ(all.size(), 100u);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], static_cast<int64_t>(i) * 10);
  const std::vector<int64_t> some = ValidationSequences(stream, 10, 37);
  for (size_t i = 1; i < some.size(); ++i) EXPECT_GE(some[i], some[i - 1] + 10);
}

}  // namespace
}  // namespace filigree::data
