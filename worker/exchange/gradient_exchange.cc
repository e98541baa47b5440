#include "worker/exchange/gradient_exchange.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "worker/exchange/slices.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kBlock = 1 << 12;     // floats that stay in L1 while the tree is gone through
constexpr int64_t kTask = 16 * kBlock;  // of a thread

}  // namespace

GradientExchange::GradientExchange(comm::Communicator& data, int64_t leaves, kernels::ThreadPool& pool)
    : data_(data), pool_(pool), subtrees_(data.size()) {
  for (int r = 0; r < data.size(); ++r) {
    const parallel::LeafRange range = parallel::LeavesOf(leaves, r, data.size());
    subtrees_[r] = SubtreesOf(range.begin, range.end);
  }
}

absl::Status GradientExchange::SumGradients(const std::vector<GradientTree::Node>& nodes, int64_t begin, int64_t end) {
  CHECK(nodes.size() == subtrees_[data_.rank()].size(), "{} subtrees, expected {}", nodes.size(),
        subtrees_[data_.rank()].size());
  const int64_t floats = end - begin;
  const absl::StatusOr<std::vector<Part>> parts = GatherSlice(nodes, begin, floats);
  if (!parts.ok()) return parts.status();
  const std::vector<int64_t> counts = SliceSizes(floats, data_.size());
  const int64_t size = counts[data_.rank()];
  AddSlice(*parts, size);
  float* const out = nodes.front().gradient->data() + begin;
  float* const mine = out + SliceBegin(floats, data_.rank(), data_.size());
  std::memcpy(mine, parts->front().values, static_cast<size_t>(size) * sizeof(float));
  const std::span<const float> slice(mine, static_cast<size_t>(size));
  return data_.AllGather(comm::ArrayOf(slice), counts,
                         comm::ArrayOf(std::span<float>(out, static_cast<size_t>(floats))));
}

// All subtrees' values of this rank's slice, in the order of leaves. In round i everybody sends the slices of its i-th
// subtree, where it has one.
absl::StatusOr<std::vector<GradientExchange::Part>> GradientExchange::GatherSlice(
    const std::vector<GradientTree::Node>& nodes, int64_t begin, int64_t floats) {
  const int P = data_.size();
  const std::vector<int64_t> sizes = SliceSizes(floats, P);
  const int64_t size = sizes[data_.rank()];
  size_t rounds = 0, arrays = 0;
  for (const auto& subtrees : subtrees_) {
    rounds = std::max(rounds, subtrees.size());
    arrays += subtrees.size();
  }
  const size_t wanted = static_cast<size_t>(size) * arrays;
  if (received_.size() < wanted) received_ = kernels::Buffer<float>(wanted);
  std::vector<std::vector<Part>> of_rank(P);
  float* next = received_.data();
  for (size_t i = 0; i < rounds; ++i) {
    const bool sending = i < nodes.size();
    std::vector<int64_t> receives(P);
    float* const first = next;
    for (int r = 0; r < P; ++r) {
      if (i >= subtrees_[r].size()) continue;
      receives[r] = size;
      of_rank[r].push_back({subtrees_[r][i], next});
      next += size;
    }
    const float* in = sending ? nodes[i].gradient->data() + begin : nullptr;
    const absl::Status status =
        data_.AllToAll(comm::ArrayOf(std::span<const float>(in, sending ? static_cast<size_t>(floats) : 0)),
                       sending ? sizes : std::vector<int64_t>(P),
                       comm::ArrayOf(std::span<float>(first, static_cast<size_t>(next - first))), receives);
    if (!status.ok()) return status;
  }
  std::vector<Part> parts;
  parts.reserve(arrays);
  for (const std::vector<Part>& of : of_rank) parts.insert(parts.end(), of.begin(), of.end());
  return parts;
}

// The whole sum of a slice lands in the first part.
void GradientExchange::AddSlice(const std::vector<Part>& parts, int64_t size) {
  pool_.Run((size + kTask - 1) / kTask, [&](int64_t task, int) {
    const int64_t end = std::min(size, (task + 1) * kTask);
    std::vector<Part> stack;
    stack.reserve(parts.size());
    for (int64_t begin = task * kTask; begin < end; begin += kBlock) {
      const int64_t n = std::min(kBlock, end - begin);
      const auto add = [n](const Part& below, const Part& top) { kernels::AddInPlace(top.values, n, below.values); };
      stack.clear();
      for (const Part& part : parts) {
        stack.push_back({part.subtree, part.values + begin});
        Collapse(stack, /*all=*/false, add);
      }
      Collapse(stack, /*all=*/true, add);
    }
  });
}

absl::StatusOr<std::vector<double>> GradientExchange::SumNumbers(const std::vector<Numbers>& nodes) {
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

absl::StatusOr<std::vector<double>> GradientExchange::GatherNumbers(const std::vector<Numbers>& nodes) {
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
absl::StatusOr<std::vector<double>> GradientExchange::SendSlices(const std::vector<Numbers>& nodes,
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
std::vector<double> GradientExchange::AddNumbers(const std::vector<double>& all, int64_t width) const {
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
