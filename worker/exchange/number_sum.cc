#include "worker/exchange/number_sum.h"

#include <span>
#include <utility>

#include "worker/exchange/slices.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {

NumberSum::NumberSum(comm::Communicator& data, int64_t leaves) : data_(data), subtrees_(data.size()) {
  for (int r = 0; r < data.size(); ++r) {
    const parallel::LeafRange range = parallel::LeavesOf(leaves, r, data.size());
    subtrees_[r] = SubtreesOf(range.begin, range.end);
  }
}

absl::StatusOr<std::vector<double>> NumberSum::SumNumbers(const std::vector<Numbers>& nodes) {
  const auto width = std::ssize(nodes.front().values);
  // A few go to everybody, who adds them; of many each rank adds its slice and gives the sums to all.
  if (width <= kFewNumbers) {
    absl::StatusOr<std::vector<double>> all = GatherNumbers(nodes);
    if (!all.ok()) return all.status();
    return AddNumbers(*all, width);
  }
  const std::vector<int64_t> sizes = SliceSizes(width, data_.size());
  const absl::StatusOr<std::vector<double>> received = SendSlices(nodes, sizes);
  if (!received.ok()) return received.status();
  const std::vector<double> mine = AddNumbers(*received, sizes[data_.rank()]);
  std::vector<double> sums(width);
  const absl::Status status =
      data_.AllGather(comm::ArrayOf(std::span<const double>(mine)), sizes, comm::ArrayOf(std::span<double>(sums)));
  if (!status.ok()) return status;
  return sums;
}

absl::StatusOr<std::vector<double>> NumberSum::GatherNumbers(const std::vector<Numbers>& nodes) {
  std::vector<double> mine;
  for (const Numbers& node : nodes) mine.insert(mine.end(), node.values.begin(), node.values.end());
  const auto width = std::ssize(nodes.front().values);
  std::vector<int64_t> counts;
  int64_t total = 0;
  for (const std::vector<Subtree>& subtrees : subtrees_) {
    counts.push_back(std::ssize(subtrees) * width);
    total += counts.back();
  }
  std::vector<double> all(total);
  const absl::Status status =
      data_.AllGather(comm::ArrayOf(std::span<const double>(mine)), counts, comm::ArrayOf(std::span<double>(all)));
  if (!status.ok()) return status;
  return all;
}

// Of every subtree of every rank, in order, the numbers of this rank's slice.
absl::StatusOr<std::vector<double>> NumberSum::SendSlices(const std::vector<Numbers>& nodes,
                                                          const std::vector<int64_t>& sizes) {
  std::vector<double> out;
  std::vector<int64_t> sends, receives;
  int64_t begin = 0, total = 0;
  for (int r = 0; r < data_.size(); ++r) {
    for (const Numbers& node : nodes) {
      out.insert(out.end(), node.values.begin() + begin, node.values.begin() + begin + sizes[r]);
    }
    begin += sizes[r];
    sends.push_back(std::ssize(nodes) * sizes[r]);
    receives.push_back(std::ssize(subtrees_[r]) * sizes[data_.rank()]);
    total += receives.back();
  }
  std::vector<double> received(total);
  const absl::Status status = data_.AllToAll(comm::ArrayOf(std::span<const double>(out)), sends,
                                             comm::ArrayOf(std::span<double>(received)), receives);
  if (!status.ok()) return status;
  return received;
}

// all: `width` numbers of every subtree of every rank.
std::vector<double> NumberSum::AddNumbers(const std::vector<double>& all, int64_t width) const {
  const double* next = all.data();
  std::vector<Numbers> stack;
  const auto add = [](Numbers& below, const Numbers& top) {
    for (size_t i = 0; i < below.values.size(); ++i) below.values[i] += top.values[i];
  };
  for (const std::vector<Subtree>& subtrees : subtrees_) {
    for (const Subtree& subtree : subtrees) {
      stack.push_back({subtree, {next, next + width}});
      next += width;
      Collapse(stack, /*all=*/false, add);
    }
  }
  Collapse(stack, /*all=*/true, add);
  return std::move(stack.front().values);
}

}  // namespace filigree::exchange
