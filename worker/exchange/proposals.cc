#include "worker/exchange/proposals.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/gradcodec/coded_entries.h"
#include "kernels/weight_topk/entry.h"
#include "worker/exchange/byte_sections.h"
#include "worker/exchange/entry_cut.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

struct Survivors {
  std::vector<uint32_t> positions;
  std::vector<float> scores;
};

Survivors SurvivorsOf(const ProposalList& list, const EntryCut& cut) {
  Survivors survivors;
  for (size_t j = 0; j < list.positions.size(); ++j) {
    if (!cut.Holds(list.positions[j], list.scores[j])) continue;
    survivors.positions.push_back(list.positions[j]);  // NOLINT: few survive
    survivors.scores.push_back(list.scores[j]);        // NOLINT
  }
  return survivors;
}

// A section for every matrix and list.
std::string Message(std::span<const Proposals> matrices, const std::vector<EntryCut>& cuts) {
  std::vector<Survivors> survivors;
  std::vector<int64_t> bounds, lengths;
  for (size_t m = 0; m < matrices.size(); ++m) {
    for (const ProposalList& list : matrices[m].lists) {
      survivors.push_back(SurvivorsOf(list, cuts[m]));                                                  // NOLINT: a few
      bounds.push_back(matrices[m].bound);                                                              // NOLINT
      lengths.push_back(kernels::CodedEntriesBytes<float>(survivors.back().positions, bounds.back()));  // NOLINT
    }
  }
  SectionedMessage message(lengths);
  for (size_t i = 0; i < survivors.size(); ++i) {
    kernels::EncodeEntries<float>(survivors[i].positions, survivors[i].scores, bounds[i], message.sections[i]);
  }
  return std::move(message.bytes);
}

using Sums = std::map<uint32_t, double>;

absl::Status AddSection(std::span<const uint8_t> section, int64_t bound, Sums& sums) {
  const absl::StatusOr<int64_t> count = kernels::EntryCount<float>(section, bound);
  if (!count.ok()) return count.status();
  Survivors survivors = {std::vector<uint32_t>(*count), std::vector<float>(*count)};
  absl::Status status = kernels::DecodeEntries<float>(section, bound, survivors.positions, survivors.scores);
  if (!status.ok()) return status;
  for (int64_t j = 0; j < *count; ++j) sums[survivors.positions[j]] += survivors.scores[j];
  return absl::OkStatus();
}

// All proposals of this rank, list after list.
std::vector<Survivors> Joined(std::span<const Proposals> matrices) {
  std::vector<Survivors> joined(matrices.size());
  for (size_t m = 0; m < matrices.size(); ++m) {
    CHECK(matrices[m].bound < int64_t{1} << 32, "positions below {}", matrices[m].bound);
    for (const auto& [positions, scores] : matrices[m].lists) {
      CHECK(positions.size() == scores.size(), "{} positions, {} scores", positions.size(), scores.size());
      joined[m].positions.insert(joined[m].positions.end(), positions.begin(), positions.end());
      joined[m].scores.insert(joined[m].scores.end(), scores.begin(), scores.end());
    }
  }
  return joined;
}

std::vector<uint32_t> Ranked(const Sums& sums, int64_t wanted) {
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

absl::StatusOr<std::vector<std::vector<uint32_t>>> AgreeOnNewcomers(comm::Communicator& ranks, int64_t shards,
                                                                    std::span<const Proposals> matrices) {
  const auto lists_of = [&](int rank) {
    const parallel::LeafRange range = parallel::LeavesOf(shards, rank, ranks.size());
    return range.end - range.begin;
  };
  const std::vector<Survivors> all = Joined(matrices);
  std::vector<ScatteredEntries> entries;
  entries.reserve(matrices.size());
  for (size_t m = 0; m < matrices.size(); ++m) {
    CHECK(std::ssize(matrices[m].lists) == lists_of(ranks.rank()), "{} lists for {} shards", matrices[m].lists.size(),
          lists_of(ranks.rank()));
    entries.push_back({matrices[m].bound, matrices[m].wanted, all[m].positions, all[m].scores});
  }
  const auto cuts = CutEntries(ranks, entries, {});
  if (!cuts.ok()) return cuts.status();
  const auto received = ranks.AllGatherStrings(Message(matrices, *cuts));
  if (!received.ok()) return received.status();
  std::vector<Sums> sums(matrices.size());
  for (int r = 0; r < ranks.size(); ++r) {  // their shards in order are all shards in order
    const auto sections = SectionsOf((*received)[r], matrices.size() * lists_of(r), r);
    if (!sections.ok()) return sections.status();
    for (size_t i = 0; i < sections->size(); ++i) {
      const size_t m = i / lists_of(r);
      if (absl::Status status = AddSection((*sections)[i], matrices[m].bound, sums[m]); !status.ok()) return status;
    }
  }
  std::vector<std::vector<uint32_t>> agreed;
  agreed.reserve(matrices.size());
  for (size_t m = 0; m < matrices.size(); ++m) agreed.push_back(Ranked(sums[m], matrices[m].wanted));
  return agreed;
}

}  // namespace filigree::exchange
