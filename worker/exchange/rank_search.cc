#include "worker/exchange/rank_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "kernels/base/check.h"

namespace filigree::exchange {
namespace {

constexpr int kMostBits = 11;  // of a key that a round finds

// Where a group's answer is known to lie.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t above = 0;  // keys beyond its end
  int64_t keys = 0;   // in it
  bool first = true;  // nothing has been counted

  bool found() const { return !first && end - begin == 1; }
};

int BitsOf(int64_t width) { return std::bit_width(static_cast<uint64_t>(width - 1)); }

// As many bins as share what is left evenly among the fewest rounds.
int ShiftOf(int64_t width) {
  const int bits = BitsOf(width), rounds = std::max(1, (bits + kMostBits - 1) / kMostBits);
  return bits - (bits + rounds - 1) / rounds;
}

Look LookAt(size_t group, const RankQuery& query, const Range& range) {
  Look look;
  look.group = group;
  look.outside = range.first;
  const bool guess = range.first && query.guess_begin < query.guess_end;
  look.begin = guess ? std::clamp<int64_t>(query.guess_begin, 0, query.range - 1) : range.begin;
  look.end = guess ? std::clamp<int64_t>(query.guess_end, look.begin + 1, query.range) : range.end;
  look.shift = ShiftOf(look.end - look.begin);
  return look;
}

int64_t BinsOf(int64_t width, int shift) { return ((width - 1) >> shift) + 1; }
size_t BinsOf(const Look& look) { return static_cast<size_t>(BinsOf(look.end - look.begin, look.shift)); }

// Adds the counts of all ranks: every look's inside, then above and below where asked for.
template <typename Count>
absl::Status AddUp(comm::Communicator& ranks, std::vector<Look>& looks) {
  std::vector<Count> wire;
  for (const Look& look : looks) {
    for (const uint64_t count : look.inside) wire.push_back(static_cast<Count>(count));
    if (look.outside) {
      wire.push_back(static_cast<Count>(look.above));
      wire.push_back(static_cast<Count>(look.below));
    }
  }
  absl::Status status = ranks.AllReduce(comm::ArrayOf(std::span(wire)), comm::ReduceOp::kSum);
  if (!status.ok()) return status;
  const Count* sum = wire.data();
  for (Look& look : looks) {
    for (uint64_t& count : look.inside) count = *sum++;
    if (!look.outside) continue;
    look.above = *sum++;
    look.below = *sum++;
  }
  return absl::OkStatus();
}

// The part of the range that the counts leave. False where they do not add up to what must be there.
bool Narrow(const RankQuery& query, const Look& look, Range& range) {
  const auto inside = static_cast<int64_t>(std::accumulate(look.inside.begin(), look.inside.end(), uint64_t{0}));
  if (look.outside) {
    const auto above = static_cast<int64_t>(look.above), below = static_cast<int64_t>(look.below);
    if (above + inside + below != query.keys) return false;
    range.first = false;
    if (above >= query.wanted) {
      range = {look.end, query.range, 0, above, false};
      return true;
    }
    if (above + inside < query.wanted) {
      range = {0, look.begin, above + inside, below, false};
      return true;
    }
    range.above = above;
  } else if (inside != range.keys) {
    return false;
  }
  for (auto bin = std::ssize(look.inside) - 1; bin >= 0; --bin) {
    const auto keys = static_cast<int64_t>(look.inside[bin]);
    if (range.above + keys >= query.wanted) {
      range.begin = look.begin + (bin << look.shift);
      range.end = std::min(look.end, range.begin + (int64_t{1} << look.shift));
      range.keys = keys;
      return true;
    }
    range.above += keys;
  }
  return false;
}

}  // namespace

void KeyGuess::Ask(RankQuery& query) const {
  if (margin == 0) return;
  query.guess_begin = std::max<int64_t>(0, key - margin);
  query.guess_end = key + margin + 1;
}

void KeyGuess::Update(int64_t found) {
  constexpr int64_t kFirst = 1 << 18, kLeast = 1 << 9, kMost = 1 << 24;  // an octave of floats is 1 << 23
  const int64_t moved = std::abs(found - key);
  margin = margin == 0 ? kFirst : std::clamp(std::max(4 * moved, margin / 2), kLeast, kMost);
  key = found;
}

void CountKeysIn(std::span<const int64_t> keys, Look& look) {
  for (const int64_t key : keys) {
    if (key >= look.end) {
      ++look.above;
    } else if (key < look.begin) {
      ++look.below;
    } else {
      ++look.inside[(key - look.begin) >> look.shift];
    }
  }
}

absl::StatusOr<std::vector<RankAnswer>> SearchRanks(comm::Communicator& ranks, std::span<const RankQuery> queries,
                                                    const CountKeys& count) {
  std::vector<Range> ranges(queries.size());
  bool wide = false;
  for (size_t g = 0; g < queries.size(); ++g) {
    const RankQuery& query = queries[g];
    CHECK(0 < query.range && query.range <= int64_t{1} << 62 && 0 < query.wanted && query.wanted <= query.keys,
          "the {}-th of {} keys below {}", query.wanted, query.keys, query.range);
    ranges[g] = {0, query.range, 0, query.keys};
    wide = wide || query.keys >= int64_t{1} << 32;
  }
  std::vector<Look> looks;
  std::vector<uint64_t> bins;
  while (true) {
    looks.clear();
    size_t size = 0;
    for (size_t g = 0; g < queries.size(); ++g) {
      if (ranges[g].found()) continue;
      looks.push_back(LookAt(g, queries[g], ranges[g]));
      size += BinsOf(looks.back());
    }
    if (looks.empty()) break;
    bins.assign(size, 0);
    uint64_t* next = bins.data();
    for (Look& look : looks) {
      look.inside = {next, BinsOf(look)};
      next += look.inside.size();
    }
    count(looks);
    absl::Status status = wide ? AddUp<uint64_t>(ranks, looks) : AddUp<uint32_t>(ranks, looks);
    if (!status.ok()) return status;
    for (const Look& look : looks) {
      if (!Narrow(queries[look.group], look, ranges[look.group])) {
        return absl::FailedPreconditionError(
            fmt::format("the {}-th largest of {} keys (group {}): the ranks together hold another number of them; "
                        "every part must be held by exactly one rank",
                        queries[look.group].wanted, queries[look.group].keys, look.group));
      }
    }
  }
  std::vector<RankAnswer> answers;
  answers.reserve(ranges.size());
  for (const Range& range : ranges) answers.push_back({range.begin, range.above, range.keys});
  return answers;
}

std::vector<int64_t> CountsOfSearch(int64_t range) {
  constexpr int64_t kOutside = 2;  // above and below, once
  std::vector<int64_t> counts;
  for (int64_t width = range; counts.empty() || width > 1;) {
    const int shift = ShiftOf(width);
    counts.push_back(BinsOf(width, shift) + (counts.empty() ? kOutside : 0));
    width = int64_t{1} << shift;
  }
  return counts;
}

}  // namespace filigree::exchange
