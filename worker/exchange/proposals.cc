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

namespace filigree::exchange {
namespace {

struct Survivors {
  std::vector<uint32_t> positions;
  std::vector<float> scores;
};

std::string Message(std::span<const Proposals> matrices, const std::vector<EntryCut>& cuts) {
  std::vector<Survivors> survivors(matrices.size());
  std::vector<int64_t> lengths;
  for (size_t m = 0; m < matrices.size(); ++m) {
    const Proposals& p = matrices[m];
    for (size_t j = 0; j < p.positions.size(); ++j) {
      if (!cuts[m].Holds(p.positions[j], p.scores[j])) continue;
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
  std::vector<ScatteredEntries> entries;
  entries.reserve(matrices.size());
  for (const Proposals& p : matrices) entries.push_back({p.bound, p.wanted, p.positions, p.scores});
  const auto cuts = CutEntries(ranks, entries, {});
  if (!cuts.ok()) return cuts.status();
  const auto received = ranks.AllGatherStrings(Message(matrices, *cuts));
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
