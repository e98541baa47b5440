#include "worker/exchange/entry_cut.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kMagnitudes = int64_t{1} << 31;

using Keys = std::vector<std::vector<int64_t>>;

absl::StatusOr<std::vector<RankAnswer>> Search(comm::Communicator& ranks, std::span<const RankQuery> queries,
                                               const Keys& keys) {
  return SearchRanks(ranks, queries, [&](std::span<Look> looks) {
    for (Look& look : looks) CountKeysIn(keys[look.group], look);
  });
}

// Positions of those equal to the thresholds, where they do not all fit. cuts: of all groups, with their magnitudes.
struct Tie {
  size_t group;
  RankAnswer threshold;
};
absl::Status BreakTies(comm::Communicator& ranks, std::span<const ScatteredEntries> groups, std::span<const Tie> ties,
                       std::vector<EntryCut>& cuts) {
  std::vector<RankQuery> queries;
  Keys keys;
  for (const auto& [g, threshold] : ties) {
    const ScatteredEntries& group = groups[g];
    queries.push_back({group.bound, threshold.equal, group.wanted - threshold.above});
    std::vector<int64_t>& tied = keys.emplace_back();  // the lower the position, the larger
    for (size_t i = 0; i < group.positions.size(); ++i) {
      if (kernels::MagnitudeBits(group.values[i]) == threshold.key)
        tied.push_back(group.bound - 1 - group.positions[i]);
    }
  }
  const auto lasts = Search(ranks, queries, keys);
  if (!lasts.ok()) return lasts.status();
  for (size_t i = 0; i < ties.size(); ++i) cuts[ties[i].group].last = groups[ties[i].group].bound - 1 - (*lasts)[i].key;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<EntryCut>> CutEntries(comm::Communicator& ranks, std::span<const ScatteredEntries> groups,
                                                 std::span<KeyGuess> guesses) {
  std::vector<int64_t> totals;
  for (const ScatteredEntries& group : groups) totals.push_back(std::ssize(group.positions));
  absl::Status status = ranks.AllReduce(comm::ArrayOf(std::span(totals)), comm::ReduceOp::kSum);
  if (!status.ok()) return status;

  std::vector<EntryCut> cuts(groups.size());
  std::vector<size_t> searched;
  std::vector<RankQuery> queries;
  Keys keys;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].wanted <= 0) cuts[g].magnitude = kMagnitudes;  // nothing is in
    if (groups[g].wanted <= 0 || totals[g] <= groups[g].wanted) continue;
    searched.push_back(g);
    queries.push_back({kMagnitudes, totals[g], groups[g].wanted});
    if (!guesses.empty()) guesses[g].Ask(queries.back());
    std::vector<int64_t>& magnitudes = keys.emplace_back();
    for (const float value : groups[g].values) magnitudes.push_back(kernels::MagnitudeBits(value));
  }
  const auto thresholds = Search(ranks, queries, keys);
  if (!thresholds.ok()) return thresholds.status();
  std::vector<Tie> ties;
  for (size_t i = 0; i < searched.size(); ++i) {
    const size_t g = searched[i];
    const RankAnswer& found = (*thresholds)[i];
    cuts[g] = {found.key, groups[g].bound};
    if (!guesses.empty()) guesses[g].Update(found.key);
    if (found.above + found.equal > groups[g].wanted) ties.push_back({g, found});
  }
  status = BreakTies(ranks, groups, ties, cuts);
  if (!status.ok()) return status;
  return cuts;
}

}  // namespace filigree::exchange
