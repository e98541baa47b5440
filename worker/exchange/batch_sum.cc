#include "worker/exchange/batch_sum.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"

namespace filigree::exchange {
namespace {

using Method = SumOptions::Method;

int OwnWayOf(const SumOptions& options, const model::Registry& registry) {
  if (options.method != Method::kTree) return -1;
  const bool rounded_with_others = options.wire == WireValue::kBf16 && options.bigram_share >= 1;
  return rounded_with_others ? -1 : registry.bigram();
}

}  // namespace

int64_t EntriesOfShare(double share, int64_t n) {
  return std::clamp<int64_t>(std::llround(share * static_cast<double>(n)), 1, n);
}

BatchSum::BatchSum(comm::Communicator& data, int64_t leaves, const SumOptions& options, const model::Registry& registry,
                   std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool)
    : data_(data),
      options_(options),
      layout_(std::move(layout)),
      pool_(pool),
      bigram_index_(OwnWayOf(options, registry)),
      tree_(data, leaves, pool) {
  if (options.holds_back()) residual_ = std::make_unique<Residual>(layout_, pool);
  if (options.method == Method::kTree && options.wire == WireValue::kBf16) {
    rounded_ = std::make_unique<RoundedSum>(data, pool);
  }
  if (!options.owners.empty()) {
    CHECK(options.method == Method::kTree && std::ssize(options.owners) == layout_->size(), "{} owners of {} tensors",
          options.owners.size(), layout_->size());
    if (options.wire == WireValue::kFloat32) owners_ = std::make_unique<OwnerSum>(data, leaves, pool);
  }
  if (bigram_index_ < 0) return;
  const model::TensorInfo& table = registry[bigram_index_];
  BigramExchange::Options bigram{table.rows, table.cols};
  if (options.wire == WireValue::kBf16) bigram.entries = EntriesOfShare(options.bigram_share, table.numel());
  bigram.balanced = BalancesTheTable(data.size());
  bigram_ = std::make_unique<BigramExchange>(data, leaves, bigram, pool);
}

absl::Status BatchSum::Sum(const std::vector<GradientTree::Node>& nodes) {
  for (const GradientTree::Node& node : nodes) model::ClearPadding(*node.gradient);
  if (residual_ != nullptr) residual_->Begin();
  if (options_.method != Method::kTree) return SumLargest(nodes);
  return options_.wire == WireValue::kBf16 ? SumRounded(nodes) : SumByTree(nodes);
}

void BatchSum::Undo() {
  if (residual_ != nullptr) residual_->Undo();
}

// Empty, at the end, where the table goes with the others.
BatchSum::Range BatchSum::BigramRange() const {
  if (bigram_index_ < 0) return {layout_->floats(), layout_->floats()};
  const int64_t begin = layout_->offset(bigram_index_);
  return {begin, begin + layout_->stored(bigram_index_)};
}

absl::Status BatchSum::SumByTree(const std::vector<GradientTree::Node>& nodes) {
  if (owners_ != nullptr) return SumForOwners(nodes);
  const auto [begin, end] = BigramRange();
  for (const auto& [from, to] : {Range(0, begin), Range(end, layout_->floats())}) {
    if (from == to) continue;
    if (absl::Status status = tree_.SumGradients(nodes, from, to); !status.ok()) return status;
  }
  return bigram_ == nullptr ? absl::OkStatus() : SumBigram(nodes);
}

absl::Status BatchSum::SumForOwners(const std::vector<GradientTree::Node>& nodes) {
  std::vector<OwnerSum::Run> runs;
  runs.reserve(layout_->size());
  for (int t = 0; t < layout_->size(); ++t) {
    if (t != bigram_index_) runs.push_back({layout_->offset(t), layout_->stored(t), OwnerOf(t)});
  }
  if (absl::Status status = owners_->Sum(nodes, runs); !status.ok()) return status;
  return bigram_ == nullptr ? absl::OkStatus() : SumBigram(nodes);
}

absl::Status BatchSum::SumRounded(const std::vector<GradientTree::Node>& nodes) {
  if (bigram_ != nullptr) {
    if (absl::Status status = SumBigram(nodes); !status.ok()) return status;
  }
  AddOwnNodes(nodes);
  std::vector<RoundedSum::Values> arrays;
  arrays.reserve(layout_->size());
  float* const gradient = nodes.front().gradient->data();
  for (int t = 0; t < layout_->size(); ++t) {
    if (t == bigram_index_) continue;
    arrays.push_back(
        {{gradient + layout_->offset(t), static_cast<size_t>(layout_->stored(t))}, residual_->tensor(t), OwnerOf(t)});
  }
  return rounded_->Sum(arrays);
}

absl::Status BatchSum::SumLargest(const std::vector<GradientTree::Node>& nodes) {
  AddOwnNodes(nodes);
  const int64_t floats = layout_->floats();
  if (largest_ == nullptr || floats != largest_floats_) {
    const int64_t k = EntriesOfShare(options_.topk_share, floats);
    largest_ = options_.method == Method::kDense  ? DenseSum(data_)
               : options_.method == Method::kTopK ? TopKSum(data_, floats, k, options_.wire, pool_)
                                                  : BalancedTopKSum(data_, floats, k, options_.wire, pool_);
    largest_floats_ = floats;
  }
  const std::span<float> held = residual_ == nullptr ? std::span<float>() : residual_->values();
  return largest_->Sum({nodes.front().gradient->data(), static_cast<size_t>(floats)}, held);
}

absl::Status BatchSum::SumBigram(const std::vector<GradientTree::Node>& nodes) {
  std::vector<BigramExchange::Part> parts;
  parts.reserve(nodes.size());
  const auto [begin, end] = BigramRange();
  for (const GradientTree::Node& node : nodes) parts.push_back({node.subtree, node.gradient->data() + begin});
  const std::span<float> held =
      residual_ == nullptr ? std::span<float>() : residual_->values().subspan(begin, end - begin);
  return bigram_->Sum(parts, held);
}

// All of this rank's leaves in the first node, but for the table's own way, which has added them already.
void BatchSum::AddOwnNodes(const std::vector<GradientTree::Node>& nodes) {
  constexpr int64_t kBlock = 1 << 16;
  const auto [begin, end] = BigramRange();
  for (const auto& [from, to] : {Range(0, begin), Range(end, layout_->floats())}) {
    pool_.Run((to - from + kBlock - 1) / kBlock, [&, from = from, to = to](int64_t block, int) {
      const int64_t at = from + block * kBlock, size = std::min(kBlock, to - at);
      for (size_t i = 1; i < nodes.size(); ++i) {
        kernels::AddInPlace(nodes[i].gradient->data() + at, size, nodes.front().gradient->data() + at);
      }
    });
  }
}

}  // namespace filigree::exchange
