#include "worker/exchange/proposals.h"

#include <algorithm>
#include <map>
#include <string>

#include "kernels/base/check.h"
#include "kernels/gradcodec/coded_entries.h"
#include "kernels/weight_topk/entry.h"
#include "worker/exchange/byte_sections.h"
#include "worker/exchange/rank_search.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kMagnitudes = int64_t{1} << 31;

// A proposal survives with magnitude > `above`, or == above and a position <= `last`.
struct Bar {
  int64_t above = -1, last = -1;

  bool Passes(float score, uint32_t position) const {
    const int64_t bits = kernels::MagnitudeBits(score);
    return bits > above || (bits == above && position <= last);
  }
};

// Asks for the `wanted`-th largest of all ranks' keys of the matrices that `queries` is about.
absl::StatusOr<std::vector<RankAnswer>> Search(comm::Communicator& ranks, std::span<const RankQuery> queries,
                                               const std::vector<std::vector<int64_t>>& keys) {
  return SearchRanks(ranks, queries, [&](std::span<Look> looks) {
    for (Look& look : looks) CountKeysIn(keys[look.group], look);
  });
}

absl::StatusOr<std::vector<Bar>> FindBars(comm::Communicator& ranks, std::span<const Proposals> matrices) {
  std::vector<int64_t> totals;
  for (const Proposals& p : matrices) totals.push_back(std::ssize(p.positions));
  absl::Status status = ranks.AllReduce(comm::ArrayOf(std::span(totals)), comm::ReduceOp::kSum);
  if (!status.ok()) return status;

  std::vector<Bar> bars(matrices.size());
  std::vector<size_t> searched;
  std::vector<RankQuery> queries;
  std::vector<std::vector<int64_t>> keys;
  for (size_t m = 0; m < matrices.size(); ++m) {
    if (matrices[m].wanted <= 0) bars[m].above = kMagnitudes;
    if (matrices[m].wanted <= 0 || totals[m] <= matrices[m].wanted) continue;
    searched.push_back(m);
    queries.push_back({kMagnitudes, totals[m], matrices[m].wanted});
    std::vector<int64_t>& magnitudes = keys.emplace_back();
    for (const float score : matrices[m].scores) magnitudes.push_back(kernels::MagnitudeBits(score));
  }
  const auto thresholds = Search(ranks, queries, keys);
  if (!thresholds.ok()) return thresholds.status();

  // Positions of those equal to the threshold, the lower the larger.
  std::vector<RankQuery> tie_queries;
  std::vector<std::vector<int64_t>> tie_keys;
  for (size_t i = 0; i < searched.size(); ++i) {
    const Proposals& p = matrices[searched[i]];
    const RankAnswer& found = (*thresholds)[i];
    bars[searched[i]].above = found.key;
    tie_queries.push_back({p.bound, found.equal, p.wanted - found.above});
    std::vector<int64_t>& ties = tie_keys.emplace_back();
    for (size_t j = 0; j < p.positions.size(); ++j) {
      if (keys[i][j] == found.key) ties.push_back(p.bound - 1 - p.positions[j]);
    }
  }
  const auto lasts = Search(ranks, tie_queries, tie_keys);
  if (!lasts.ok()) return lasts.status();
  for (size_t i = 0; i < searched.size(); ++i) {
    bars[searched[i]].last = matrices[searched[i]].bound - 1 - (*lasts)[i].key;
  }
  return bars;
}

struct Survivors {
  std::vector<uint32_t> positions;
  std::vector<float> scores;
};

std::string Message(std::span<const Proposals> matrices, const std::vector<Bar>& bars) {
  std::vector<Survivors> survivors(matrices.size());
  std::vector<int64_t> lengths;
  for (size_t m = 0; m < matrices.size(); ++m) {
    const Proposals& p = matrices[m];
    for (size_t j = 0; j < p.positions.size(); ++j) {
      if (!bars[m].Passes(p.scores[j], p.positions[j])) continue;
      survivors[m].positions.push_back(p.positions[j]);
      survivors[m].scores.push_back(p.scores[j]);
    }
    lengths.push_back(kernels::CodedEntriesBytes<float>(survivors[m].positions, p.bound));
  }
  SectionedMessage message(lengths);
  for (size_t m = 0; m < matrices.size(); ++m) {
    kernels::EncodeEntries<float>(survivors[m].positions, survivors[m].scores, matrices[m].bound, message.sections[m]);
  }
  return std::move(message.bytes);
}

std::vector<uint32_t> Ranked(const std::map<uint32_t, double>& sums, int64_t wanted) {
  std::vector<kernels::Entry> entries;
  entries.reserve(sums.size());
  for (const auto& [position, sum] : sums) {
    entries.push_back(kernels::MakeEntry(kernels::MagnitudeBits(static_cast<float>(sum)), position));
  }
  std::sort(entries.begin(), entries.end(), std::greater<>());
  std::vector<uint32_t> ranked;
  ranked.reserve(entries.size());
  for (const kernels::Entry e : entries) {
    if (std::ssize(ranked) < wanted) ranked.push_back(static_cast<uint32_t>(kernels::IndexOf(e)));
  }
  return ranked;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<uint32_t>>> AgreeOnNewcomers(comm::Communicator& ranks,
                                                                    std::span<const Proposals> matrices) {
  for (const Proposals& p : matrices) {
    CHECK(p.positions.size() == p.scores.size() && p.bound < int64_t{1} << 32, "{} positions, {} scores below {}",
          p.positions.size(), p.scores.size(), p.bound);
  }
  const auto bars = FindBars(ranks, matrices);
  if (!bars.ok()) return bars.status();
  const auto received = ranks.AllGatherStrings(Message(matrices, *bars));
  if (!received.ok()) return received.status();
  std::vector<std::map<uint32_t, double>> sums(matrices.size());
  for (size_t r = 0; r < received->size(); ++r) {
    const auto sections = SectionsOf((*received)[r], matrices.size(), static_cast<int>(r));
    if (!sections.ok()) return sections.status();
    for (size_t m = 0; m < matrices.size(); ++m) {
      const int64_t bound = matrices[m].bound;
      const absl::StatusOr<int64_t> count = kernels::EntryCount<float>((*sections)[m], bound);
      if (!count.ok()) return count.status();
      Survivors survivors = {std::vector<uint32_t>(*count), std::vector<float>(*count)};
      absl::Status status = kernels::DecodeEntries<float>((*sections)[m], bound, survivors.positions, survivors.scores);
      if (!status.ok()) return status;
      for (int64_t j = 0; j < *count; ++j) sums[m][survivors.positions[j]] += survivors.scores[j];
    }
  }
  std::vector<std::vector<uint32_t>> agreed;
  agreed.reserve(matrices.size());
  for (size_t m = 0; m < matrices.size(); ++m) agreed.push_back(Ranked(sums[m], matrices[m].wanted));
  return agreed;
}

}  // namespace filigree::exchange
