#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "worker/exchange/alternatives.h"
#include "worker/exchange/byte_sections.h"
#include "worker/exchange/entry_cut.h"
#include "worker/exchange/top_entries.h"

namespace filigree::exchange {
namespace {

class BalancedTopK : public GradientSum {
 public:
  BalancedTopK(comm::Communicator& data, int64_t n, int64_t k, WireValue wire, kernels::ThreadPool& pool)
      : data_(data), n_(n), k_(k), wire_(wire), held_(n, k, wire, pool) {}

  absl::Status Sum(std::span<float> gradient, std::span<float> residual) override;

 private:
  absl::Status CutRegions(const Entries& mine);
  absl::StatusOr<Entries> SumOwnRegion(const Entries& mine);
  absl::Status KeepLargest(Entries& sums);
  absl::StatusOr<Entries> Gather(Entries& largest);

  comm::Communicator& data_;
  const int64_t n_, k_;
  const WireValue wire_;
  HeldBack held_;
  KeyGuess guess_;                // of the smallest sum that everybody gets
  std::vector<int64_t> regions_;  // rank r owns positions [regions_[r], regions_[r + 1])
};

absl::Status BalancedTopK::Sum(std::span<float> gradient, std::span<float> residual) {
  const Entries mine = held_.Take(gradient, residual);
  if (absl::Status status = CutRegions(mine); !status.ok()) return status;
  absl::StatusOr<Entries> sums = SumOwnRegion(mine);
  if (!sums.ok()) return sums.status();
  if (absl::Status status = KeepLargest(*sums); !status.ok()) return status;
  const absl::StatusOr<Entries> all = Gather(*sums);
  if (!all.ok()) return all.status();
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  for (size_t i = 0; i < all->size(); ++i) gradient[all->positions[i]] = all->values[i];
  // What this rank gave to sums that nobody kept stays with it.
  for (size_t i = 0, j = 0; i < mine.size(); ++i) {
    while (j < all->size() && all->positions[j] < mine.positions[i]) ++j;
    if (j == all->size() || all->positions[j] != mine.positions[i]) held_.Add(mine.positions[i], mine.values[i]);
  }
  return absl::OkStatus();
}

// Where each rank would cut its own entries into equal parts, on average over the ranks.
absl::Status BalancedTopK::CutRegions(const Entries& mine) {
  const int P = data_.size();
  std::vector<int64_t> cuts(P - 1);
  for (int r = 1; r < P; ++r) {
    cuts[r - 1] = mine.size() == 0 ? n_ * r / P : mine.positions[mine.size() * static_cast<size_t>(r) / P];
  }
  absl::Status status = data_.AllReduce(comm::ArrayOf(std::span(cuts)), comm::ReduceOp::kSum);
  if (!status.ok()) return status;
  regions_.assign(1, 0);
  for (const int64_t cut : cuts) regions_.push_back(cut / P);
  regions_.push_back(n_);
  return absl::OkStatus();
}

absl::StatusOr<Entries> BalancedTopK::SumOwnRegion(const Entries& mine) {
  const int P = data_.size();
  std::vector<std::string> messages(P);
  size_t first = 0;
  for (int r = 0; r < P; ++r) {
    const auto end = std::lower_bound(mine.positions.begin(), mine.positions.end(), regions_[r + 1]);
    const auto last = static_cast<size_t>(end - mine.positions.begin());
    messages[r] = Encoded(mine, first, last, regions_[r], regions_[r + 1] - regions_[r], wire_);
    first = last;
  }
  const auto received = ExchangeStrings(data_, messages);
  if (!received.ok()) return received.status();
  const int64_t origin = regions_[data_.rank()], bound = regions_[data_.rank() + 1] - origin;
  std::vector<std::pair<uint32_t, float>> all;  // in the order of ranks, then by position
  for (const std::string& bytes : *received) {
    const absl::StatusOr<Entries> entries = Decoded(bytes, origin, bound, wire_);
    if (!entries.ok()) return entries.status();
    for (size_t i = 0; i < entries->size(); ++i) all.emplace_back(entries->positions[i], entries->values[i]);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Entries sums;
  for (const auto& [position, value] : all) {
    if (sums.size() > 0 && sums.positions.back() == position) {
      sums.values.back() += value;
    } else {
      sums.Add(position, value);
    }
  }
  return sums;
}

// Leaves those of this region that are among the k largest sums of all.
absl::Status BalancedTopK::KeepLargest(Entries& sums) {
  const ScatteredEntries scattered = {n_, k_, sums.positions, sums.values};
  const auto cut = CutEntries(data_, {&scattered, 1}, {&guess_, 1});
  if (!cut.ok()) return cut.status();
  Entries kept;
  for (size_t i = 0; i < sums.size(); ++i) {
    if (cut->front().Holds(sums.positions[i], sums.values[i])) kept.Add(sums.positions[i], sums.values[i]);
  }
  sums = std::move(kept);
  return absl::OkStatus();
}

// Everybody's, in ascending order; what rounding takes from a sum its owner holds back.
absl::StatusOr<Entries> BalancedTopK::Gather(Entries& largest) {
  for (size_t i = 0; i < largest.size(); ++i) largest.values[i] = held_.Round(largest.positions[i], largest.values[i]);
  const int64_t origin = regions_[data_.rank()], bound = regions_[data_.rank() + 1] - origin;
  const auto received = data_.AllGatherStrings(Encoded(largest, 0, largest.size(), origin, bound, wire_));
  if (!received.ok()) return received.status();
  Entries all;
  for (size_t r = 0; r < received->size(); ++r) {
    const auto entries = Decoded((*received)[r], regions_[r], regions_[r + 1] - regions_[r], wire_);
    if (!entries.ok()) return entries.status();
    all.positions.insert(all.positions.end(), entries->positions.begin(), entries->positions.end());
    all.values.insert(all.values.end(), entries->values.begin(), entries->values.end());
  }
  return all;
}

}  // namespace

std::unique_ptr<GradientSum> BalancedTopKSum(comm::Communicator& data, int64_t n, int64_t k, WireValue wire,
                                             kernels::ThreadPool& pool) {
  return std::make_unique<BalancedTopK>(data, n, k, wire, pool);
}

}  // namespace filigree::exchange
