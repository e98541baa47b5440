#include "worker/exchange/traffic.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/exchange/consensus.h"
#include "worker/exchange/local_matrices.h"
#include "worker/exchange/rank_search.h"
#include "worker/exchange/slices.h"
#include "worker/exchange/subtree.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

using comm::Traffic;
using Method = SumOptions::Method;

constexpr int64_t kFloat = sizeof(float), kHalf = sizeof(uint16_t), kLength = sizeof(int64_t);
constexpr int64_t kBytesOfASection = 21;  // a rank and matrix, even without a survivor (surviving_weights.h)

std::vector<Subtree> SubtreesOfRank(int64_t leaves, int rank, int ranks) {
  const parallel::LeafRange range = parallel::LeavesOf(leaves, rank, ranks);
  return SubtreesOf(range.begin, range.end);
}

int64_t Subtrees(int64_t leaves, int rank, int ranks) { return std::ssize(SubtreesOfRank(leaves, rank, ranks)); }

// Of all other ranks.
int64_t OthersSubtrees(int64_t leaves, int rank, int ranks) {
  int64_t count = 0;
  for (int r = 0; r < ranks; ++r) count += r == rank ? 0 : Subtrees(leaves, r, ranks);
  return count;
}

int64_t OwnSlice(int64_t floats, int rank, int ranks) {
  return SliceBegin(floats, rank + 1, ranks) - SliceBegin(floats, rank, ranks);
}

// Everybody's slice of every subtree to its owner, then the owner's slice to everybody (number_sum.cc); what
// is owned whole goes to its owner alone (tree_sum.cc).
Traffic AlongTheTree(int64_t leaves, int64_t floats, int rank, int ranks, int64_t owned = 0, int64_t owned_here = 0) {
  const int64_t slice = OwnSlice(floats, rank, ranks), own = slice + owned_here;
  Traffic traffic;
  traffic.sent_bytes = kFloat * (Subtrees(leaves, rank, ranks) * (floats + owned - own) + (ranks - 1) * slice);
  traffic.received_bytes = kFloat * (OthersSubtrees(leaves, rank, ranks) * own + (floats - slice));
  return traffic;
}

// The same with one addend a rank (rounded_sum.cc).
Traffic Rounded(int64_t floats, int rank, int ranks) {
  const int64_t own = OwnSlice(floats, rank, ranks), bytes = kHalf * (floats - own + (ranks - 1) * own);
  return {bytes, bytes, 0};
}

Traffic RoundedForOwner(int64_t floats, int owner, int rank, int ranks) {
  const int64_t bytes = kHalf * floats;
  return owner == rank ? Traffic{0, (ranks - 1) * bytes, 0} : Traffic{bytes, 0, 0};
}

// A list of `count` of `bound` positions, if it is a random subset (index_list.h).
int64_t ListBytes(int64_t count, int64_t bound) {
  if (count == 0 || count == bound) return 0;
  const double bits = std::log2(static_cast<double>(bound) / static_cast<double>(count)) + 1.5;
  return static_cast<int64_t>(std::min(bits * static_cast<double>(count), static_cast<double>(bound)) / 8);
}

// The same with their values.
int64_t CodedBytes(int64_t count, int64_t bound, WireValue wire) {
  return count * (wire == WireValue::kBf16 ? kHalf : kFloat) + ListBytes(count, bound);
}

// The most that a list of rows takes beside their values (coded_rows.h): a bitmap.
int64_t RowListBytes(int64_t rows) { return kLength + 1 + (rows + 7) / 8; }

// Touched rows to their owners, sums of rows to all (bigram_exchange.cc).
class TouchedRows {
 public:
  TouchedRows(const GradientShape& shape, int rank, int ranks) : shape_(shape), rank_(rank), ranks_(ranks) {}

  Traffic AtMost() const {
    Traffic traffic;
    for (int r = 0; r < ranks_; ++r) {
      if (r == rank_) continue;
      traffic.sent_bytes += kLength + ToOwner(rank_, r) + Sums(rank_);
      traffic.received_bytes += kLength + ToOwner(r, rank_) + Sums(r);
    }
    // Whatever their owners, a subtree touches no more rows than it has tokens.
    traffic.sent_bytes += RowsOfOthers();
    return traffic;
  }

 private:
  int64_t Rows(int rank) const {
    const int64_t rows = shape_.bigram_rows;
    return rows * (rank + 1) / ranks_ - rows * rank / ranks_;
  }
  int64_t RowBytes() const { return shape_.bigram_cols * kFloat; }
  int64_t Tokens(const Subtree& subtree) const {
    const auto begin = shape_.tokens.begin() + subtree.first;
    return std::accumulate(begin, begin + subtree.leaves, int64_t{0});
  }
  std::vector<Subtree> SubtreesOf(int rank) const { return SubtreesOfRank(std::ssize(shape_.tokens), rank, ranks_); }

  // A section a subtree; rows of this rank's own subtrees are counted together in RowsOfOthers.
  int64_t ToOwner(int from, int owner) const {
    int64_t bytes = 0;
    for (const Subtree& subtree : SubtreesOf(from)) {
      bytes += kLength + RowListBytes(Rows(owner));
      if (from != rank_) bytes += RowBytes() * std::min(Rows(owner), Tokens(subtree));
    }
    return bytes;
  }
  int64_t RowsOfOthers() const {
    int64_t rows = 0;
    for (const Subtree& subtree : SubtreesOf(rank_)) {
      rows += std::min(shape_.bigram_rows - Rows(rank_), Tokens(subtree));
    }
    return rows * RowBytes();
  }
  int64_t Sums(int owner) const {
    const int64_t all = std::accumulate(shape_.tokens.begin(), shape_.tokens.end(), int64_t{0});
    return RowListBytes(Rows(owner)) + RowBytes() * std::min(Rows(owner), all);
  }

  const GradientShape& shape_;
  const int rank_, ranks_;
};

// What each rank sends to all others, of which the others send as much.
Traffic ToAll(int64_t bytes, int ranks) { return {(ranks - 1) * bytes, (ranks - 1) * bytes, 0}; }

// Where the k-th of scattered values lies (entry_cut.cc), after a guess that was wrong; among rounded ones many are
// equal, and their positions decide.
Traffic OfCut(int64_t bound, WireValue wire, int rank, int ranks) {
  constexpr int64_t kCount = sizeof(uint32_t);
  const std::vector<int64_t> cold = CountsOfSearch(kMagnitudes);
  Traffic traffic = comm::TrafficOfAllReduce(1, kLength, rank, ranks);
  traffic += comm::TrafficOfAllReduce(cold.front(), kCount, rank, ranks);  // the guess
  for (const int64_t counts : cold) traffic += comm::TrafficOfAllReduce(counts, kCount, rank, ranks);
  if (wire == WireValue::kFloat32) return traffic;
  for (const int64_t counts : CountsOfSearch(bound)) traffic += comm::TrafficOfAllReduce(counts, kCount, rank, ranks);
  return traffic;
}

// Entries to the owners of regions, on whose borders all agree; the owners' largest to all (balanced_topk.cc).
Traffic Balanced(int64_t list, int64_t bound, WireValue wire, int rank, int ranks) {
  const int64_t bytes = 2 * list * (ranks - 1) / ranks;
  Traffic traffic = {bytes, bytes, 0};
  traffic += comm::TrafficOfAllReduce(ranks - 1, kLength, rank, ranks);
  traffic += OfCut(bound, wire, rank, ranks);
  return traffic;
}

Forecast Bigram(const SumOptions& options, const GradientShape& shape, int rank, int ranks) {
  if (options.wire == WireValue::kFloat32) return {TouchedRows(shape, rank, ranks).AtMost(), Accuracy::kAtMost};
  const int64_t entries = shape.bigram_rows * shape.bigram_cols;
  const int64_t k = EntriesOfShare(options.bigram_share, entries);
  const int64_t list = CodedBytes(k, entries, options.wire);
  if (BalancesTheTable(ranks)) return {Balanced(list, entries, options.wire, rank, ranks), Accuracy::kAtMost};
  return {ToAll(list, ranks), Accuracy::kAbout};
}

Forecast Largest(const SumOptions& options, int64_t floats, int rank, int ranks) {
  const int64_t k = EntriesOfShare(options.topk_share, floats), list = CodedBytes(k, floats, options.wire);
  if (options.method == Method::kTopK) return {ToAll(list, ranks), Accuracy::kAbout};
  return {Balanced(list, floats, options.wire, rank, ranks), Accuracy::kAtMost};
}

bool OwnWay(const SumOptions& options, const GradientShape& shape) {
  if (shape.bigram_rows == 0 || options.method != Method::kTree) return false;
  return options.wire == WireValue::kFloat32 || options.bigram_share < 1;
}

// The runs of an arena that are summed one after the other: without the table where it goes its own way.
std::vector<int64_t> Ranges(const SumOptions& options, const GradientShape& shape) {
  if (!OwnWay(options, shape)) return {shape.floats};
  const int64_t end = shape.bigram_begin + InWholeSlices(shape.bigram_rows * shape.bigram_cols);
  return {shape.bigram_begin, shape.floats - end};
}

// Of shape.arrays[array]; -1: none.
int OwnerOf(const SumOptions& options, const GradientShape& shape, int64_t array) {
  if (options.owners.empty()) return -1;
  return options.owners[shape.bigram >= 0 && array >= shape.bigram ? array + 1 : array];
}

// What has an owner, and what of it is this rank's; what has none.
struct Owned {
  int64_t all = 0, here = 0, shared = 0;
};
Owned OwnedValues(const SumOptions& options, const GradientShape& shape, int rank) {
  Owned owned;
  for (int64_t array = 0; array < std::ssize(shape.arrays); ++array) {
    const int owner = OwnerOf(options, shape, array);
    (owner < 0 ? owned.shared : owned.all) += shape.arrays[array];
    if (owner == rank) owned.here += shape.arrays[array];
  }
  return owned;
}

// Every array in slices of its own, or to its owner, all of them in one message.
Traffic RoundedArrays(const SumOptions& options, const GradientShape& shape, int rank, int ranks) {
  Traffic traffic;
  for (int64_t array = 0; array < std::ssize(shape.arrays); ++array) {
    const int owner = OwnerOf(options, shape, array);
    traffic += owner < 0 ? Rounded(shape.arrays[array], rank, ranks)
                         : RoundedForOwner(shape.arrays[array], owner, rank, ranks);
  }
  if (!OwnWay(options, shape)) traffic += Rounded(shape.bigram_rows * shape.bigram_cols, rank, ranks);
  return traffic;
}

// Values of the largest bucket (buckets.h), but for the table where it goes its own way.
int64_t LargestBucket(const SumOptions& options, const GradientShape& shape) {
  int64_t largest = 0, open = 0;
  for (size_t stage = 0; stage < shape.stages.size(); ++stage) {
    open += shape.stages[stage];
    if (stage == 0 && !OwnWay(options, shape)) open += shape.bigram_rows * shape.bigram_cols;
    largest = std::max(largest, open);
    if (options.bucket_values > 0 && open >= options.bucket_values) open = 0;
  }
  return largest;
}

// One bucket after the other in the same memory: what others add, packed, or what all get of it, and what this rank
// adds of the other ranks' parts. At its most: it may add all of a bucket.
int64_t MemoryOfBuckets(const SumOptions& options, const GradientShape& shape, int rank, int ranks) {
  const bool rounded = options.wire == WireValue::kBf16;
  const int64_t parts = rounded ? ranks - 1 : OthersSubtrees(std::ssize(shape.tokens), rank, ranks);
  const Owned owned = OwnedValues(options, shape, rank);
  const int64_t table = OwnWay(options, shape) ? 0 : shape.bigram_rows * shape.bigram_cols;
  const int64_t shared = owned.shared + table, here = owned.here + OwnSlice(shared, rank, ranks);
  const int64_t packed = std::max(shared, owned.all + shared - here);
  const int64_t bucket = LargestBucket(options, shape);
  return (rounded ? kHalf : kFloat) * (std::min(packed, bucket) + parts * std::min(here, bucket));
}

}  // namespace

SumForecast TrafficOfSum(const SumOptions& options, const GradientShape& shape, int rank, int ranks) {
  SumForecast forecast;
  if (OwnWay(options, shape)) forecast.bigram = Bigram(options, shape, rank, ranks);
  if (options.method == Method::kTopK || options.method == Method::kBalancedTopK) {
    forecast.others = Largest(options, shape.floats, rank, ranks);
    return forecast;
  }
  if (options.method == Method::kTree && options.wire == WireValue::kBf16) {
    forecast.others.traffic = RoundedArrays(options, shape, rank, ranks);
    return forecast;
  }
  if (!options.owners.empty()) {
    const Owned owned = OwnedValues(options, shape, rank);
    forecast.others.traffic = AlongTheTree(std::ssize(shape.tokens), owned.shared, rank, ranks, owned.all, owned.here);
    return forecast;
  }
  for (const int64_t floats : Ranges(options, shape)) {
    if (floats == 0) continue;
    forecast.others.traffic += options.method == Method::kDense
                                   ? comm::TrafficOfAllReduce(floats, kFloat, rank, ranks)
                                   : AlongTheTree(std::ssize(shape.tokens), floats, rank, ranks);
  }
  return forecast;
}

Forecast TrafficOfSharedThreshold(std::span<const OwnedMatrix> matrices, int rank, int ranks) {
  int64_t entries = 0;
  for (const OwnedMatrix& matrix : matrices) entries += matrix.numel;
  const int64_t count_bytes = entries >= int64_t{1} << 32 ? 8 : 4;
  const std::vector<int64_t> cold = CountsOfSearch(kMagnitudes);
  Forecast forecast = {comm::TrafficOfAllReduce(cold.front(), count_bytes, rank, ranks), Accuracy::kAtMost};  // a guess
  for (const std::vector<int64_t>& rounds : {cold, CountsOfSearch(entries)}) {
    for (const int64_t counts : rounds) {
      forecast.traffic += comm::TrafficOfAllReduce(counts, count_bytes, rank, ranks);
    }
  }
  forecast.traffic += comm::TrafficOfAllReduce(std::ssize(matrices), kLength, rank, ranks);  // what each has kept
  return forecast;
}

Forecast TrafficOfWeights(std::span<const OwnedMatrix> matrices, int rank, int ranks) {
  Forecast forecast;
  std::vector<int64_t> whole(ranks), coded(ranks);
  int64_t masked = 0;
  for (const OwnedMatrix& matrix : matrices) {
    if (matrix.kept == matrix.numel) {
      whole[matrix.owner] += kFloat * matrix.numel;
      continue;
    }
    ++masked;
    if (matrix.kept > 0) coded[matrix.owner] += CodedBytes(matrix.kept, matrix.numel, WireValue::kFloat32);
  }
  if (masked > 0) forecast.accuracy = Accuracy::kAbout;
  const int64_t headers = masked > 0 ? kLength + masked * kBytesOfASection : 0;
  for (int r = 0; r < ranks; ++r) {
    const int64_t bytes = whole[r] + coded[r] + headers;
    if (r == rank) forecast.traffic.sent_bytes += (ranks - 1) * bytes;
    if (r != rank) forecast.traffic.received_bytes += bytes;
  }
  return forecast;
}

Forecast TrafficOfCandidateSets(std::span<const ForecastSet> sets, int rank, int ranks) {
  std::vector<int64_t> bytes(ranks, kLength);
  for (const ForecastSet& set : sets) bytes[set.owner] += kLength + 1 + ListBytes(set.entries, set.numel);
  Forecast forecast = {{}, Accuracy::kAbout};
  for (int r = 0; r < ranks; ++r) {
    if (r == rank) forecast.traffic.sent_bytes += (ranks - 1) * bytes[r];
    if (r != rank) forecast.traffic.received_bytes += bytes[r];
  }
  return forecast;
}

// A bitmap of every matrix; the own survivors and their message; everybody's messages, once as they arrive and once as
// values (surviving_weights.cc).
int64_t MemoryOfWeights(std::span<const OwnedMatrix> matrices, int rank, int ranks) {
  constexpr int64_t kSurvivor = sizeof(uint32_t) + sizeof(float);
  std::vector<OwnedMatrix> masked;
  int64_t survivors = 0, bitmaps = 0;
  for (const OwnedMatrix& matrix : matrices) {
    if (matrix.kept == matrix.numel) continue;
    masked.push_back(matrix);
    survivors += matrix.kept;
    bitmaps += matrix.numel / 8;
  }
  const Traffic traffic = TrafficOfWeights(masked, rank, ranks).traffic;
  return bitmaps + survivors * kSurvivor + traffic.received_bytes + 2 * traffic.sent_bytes / std::max(1, ranks - 1);
}

Traffic TrafficOfNumbers(int64_t leaves, int rank, int ranks, int64_t width) {
  constexpr auto kDouble = static_cast<int64_t>(sizeof(double));
  const int64_t node = width * kDouble;
  Traffic traffic;
  if (width > NumberSum::kFewNumbers) {  // slices to their owners, sums to all
    const int64_t own = OwnSlice(width, rank, ranks);
    traffic.sent_bytes = kDouble * (Subtrees(leaves, rank, ranks) * (width - own) + (ranks - 1) * own);
    traffic.received_bytes = kDouble * (OthersSubtrees(leaves, rank, ranks) * own + width - own);
    return traffic;
  }
  traffic.sent_bytes = (ranks - 1) * Subtrees(leaves, rank, ranks) * node;
  traffic.received_bytes = OthersSubtrees(leaves, rank, ranks) * node;
  return traffic;
}

Forecast TrafficOfProposals(std::span<const ProposedMatrix> matrices, int64_t shards, int rank, int ranks) {
  const int64_t groups = std::ssize(matrices);
  Forecast forecast = {comm::TrafficOfAllReduce(groups, sizeof(int64_t), rank, ranks), Accuracy::kAbout};
  for (const int64_t counts : CountsOfSearch(kMagnitudes)) {
    forecast.traffic += comm::TrafficOfAllReduce(groups * counts, sizeof(uint32_t), rank, ranks);
  }
  int64_t list = 0;  // of one shard
  for (const auto& [bound, wanted] : matrices) {
    list += kBytesOfASection + (wanted < shards ? 0 : CodedBytes(wanted / shards, bound, WireValue::kFloat32));
  }
  for (int r = 0; r < ranks; ++r) {
    const parallel::LeafRange mine = parallel::LeavesOf(shards, r, ranks);
    const int64_t bytes = (mine.end - mine.begin) * list;
    if (r == rank) forecast.traffic.sent_bytes += (ranks - 1) * bytes;
    if (r != rank) forecast.traffic.received_bytes += bytes;
  }
  return forecast;
}

Traffic TrafficOfConsensus(int ranks) { return ToAll(kConsensusBytes, ranks); }

int64_t MemoryOfSum(const SumOptions& options, const GradientShape& shape, int rank, int ranks) {
  const int64_t residual = options.holds_back() ? 2 * kFloat * shape.floats : 0;  // and as it was before the step
  switch (options.method) {
    case Method::kTree:
      return residual + MemoryOfBuckets(options, shape, rank, ranks);
    case Method::kDense:
      return 0;
    case Method::kTopK:
    case Method::kBalancedTopK:
      return residual + shape.floats / 8;
  }
  return 0;
}

}  // namespace filigree::exchange
