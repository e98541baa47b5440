#include "worker/exchange/batch_sum.h"

#include <algorithm>
#include <cmath>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "worker/exchange/slices.h"
#include "worker/model/gradient_stages.h"

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
      stages_(model::GradientStages(registry)),
      bigram_index_(OwnWayOf(options, registry)),
      beside_(options.overlaps() ? std::make_unique<kernels::ThreadPool>(1) : nullptr),
      pool_(beside_ == nullptr ? pool : *beside_),
      numbers_(data, leaves) {
  if (options.holds_back()) residual_ = std::make_unique<Residual>(layout_, pool);
  CHECK(!owned() || (options.method == Method::kTree && std::ssize(options.owners) == layout_->size()),
        "{} owners of {} tensors", options.owners.size(), layout_->size());
  if (options.method != Method::kTree) return;
  if (options.wire == WireValue::kBf16) rounded_ = std::make_unique<RoundedSum>(data, pool_);
  if (options.wire == WireValue::kFloat32) tree_ = std::make_unique<TreeSum>(data, leaves, pool_);
  if (bigram_index_ < 0) return;
  const model::TensorInfo& table = registry[bigram_index_];
  BigramExchange::Options bigram{table.rows, table.cols};
  if (options.wire == WireValue::kBf16) bigram.entries = EntriesOfShare(options.bigram_share, table.numel());
  bigram.balanced = BalancesTheTable(data.size());
  bigram_ = std::make_unique<BigramExchange>(data, leaves, bigram, pool_);
}

absl::Status BatchSum::Sum(const std::vector<GradientTree::Node>& nodes) {
  Begin(nodes);
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    if (absl::Status status = SumBucket(bucket); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void BatchSum::Begin(std::vector<GradientTree::Node> nodes) {
  nodes_ = std::move(nodes);
  data_.Name("gradients");
  for (const GradientTree::Node& node : nodes_) model::ClearPadding(*node.gradient);
  if (residual_ != nullptr) residual_->Begin();
  buckets_ = BucketsOf(stages_, *layout_, bigram_index_, options_.method == Method::kTree ? options_.bucket_values : 0);
  if (tree_ == nullptr) return;
  Shares shares(ShareTotals());
  shares_.clear();
  for (const Bucket& bucket : buckets_) {
    int64_t shared = 0;
    for (const TreeSum::Run& run : RunsOf(bucket)) shared += run.owner < 0 ? run.size : 0;
    shares_.push_back(shares.Take(shared));
  }
}

absl::Status BatchSum::SumBucket(size_t bucket) {
  const Bucket& of = buckets_[bucket];
  if (options_.method != Method::kTree) return SumLargest();
  if (of.alone) return SumBigram();
  return options_.wire == WireValue::kBf16 ? SumRounded(of) : SumByTree(bucket);
}

void BatchSum::Undo() {
  if (residual_ != nullptr) residual_->Undo();
}

// Where nobody owns anything, with what pads a tensor.
std::vector<TreeSum::Run> BatchSum::RunsOf(const Bucket& bucket) const {
  std::vector<TreeSum::Run> runs;
  if (bucket.alone) return runs;
  runs.reserve(bucket.tensors.size());
  for (const int tensor : bucket.tensors) {
    const int64_t size = owned() ? layout_->stored(tensor) : InWholeSlices(layout_->stored(tensor));
    runs.push_back({layout_->offset(tensor), size, OwnerOf(tensor)});
  }
  return runs;
}

// What each rank adds of all that has no owner: its slice of it, or of what stands before and behind the table.
std::vector<int64_t> BatchSum::ShareTotals() const {
  const int P = data_.size();
  int64_t before = 0, behind = 0;
  for (const Bucket& bucket : buckets_) {
    for (const TreeSum::Run& run : RunsOf(bucket)) {
      if (run.owner >= 0) continue;
      const bool first = owned() || bigram_index_ < 0 || run.begin < layout_->offset(bigram_index_);
      (first ? before : behind) += run.size;
    }
  }
  std::vector<int64_t> totals = SliceSizes(before, P);
  const std::vector<int64_t> more = SliceSizes(behind, P);
  for (int r = 0; r < P; ++r) totals[r] += more[r];
  return totals;
}

absl::Status BatchSum::SumByTree(size_t bucket) {
  return tree_->Sum(nodes_, RunsOf(buckets_[bucket]), shares_[bucket]);
}

absl::Status BatchSum::SumRounded(const Bucket& bucket) {
  std::vector<RoundedSum::Values> arrays;
  arrays.reserve(bucket.tensors.size());
  float* const gradient = nodes_.front().gradient->data();
  for (const int tensor : bucket.tensors) {
    const int64_t begin = layout_->offset(tensor), size = layout_->stored(tensor);
    AddOwnNodes(begin, size);
    arrays.push_back({{gradient + begin, static_cast<size_t>(size)}, residual_->tensor(tensor), OwnerOf(tensor)});
  }
  return rounded_->Sum(arrays);
}

absl::Status BatchSum::SumLargest() {
  const int64_t floats = layout_->floats();
  AddOwnNodes(0, floats);
  if (largest_ == nullptr || floats != largest_floats_) {
    const int64_t k = EntriesOfShare(options_.topk_share, floats);
    largest_ = options_.method == Method::kDense  ? DenseSum(data_)
               : options_.method == Method::kTopK ? TopKSum(data_, floats, k, options_.wire, pool_)
                                                  : BalancedTopKSum(data_, floats, k, options_.wire, pool_);
    largest_floats_ = floats;
  }
  const std::span<float> held = residual_ == nullptr ? std::span<float>() : residual_->values();
  return largest_->Sum({nodes_.front().gradient->data(), static_cast<size_t>(floats)}, held);
}

absl::Status BatchSum::SumBigram() {
  std::vector<BigramExchange::Part> parts;
  parts.reserve(nodes_.size());
  const int64_t begin = layout_->offset(bigram_index_);
  for (const GradientTree::Node& node : nodes_) parts.push_back({node.subtree, node.gradient->data() + begin});
  return bigram_->Sum(parts, residual_ == nullptr ? std::span<float>() : residual_->tensor(bigram_index_));
}

// All of this rank's leaves in the first node.
void BatchSum::AddOwnNodes(int64_t begin, int64_t size) {
  if (nodes_.size() == 1) return;
  constexpr int64_t kBlock = 1 << 16;
  pool_.Run((size + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t at = begin + block * kBlock, n = std::min(kBlock, begin + size - at);
    for (size_t i = 1; i < nodes_.size(); ++i) {
      kernels::AddInPlace(nodes_[i].gradient->data() + at, n, nodes_.front().gradient->data() + at);
    }
  });
}

}  // namespace filigree::exchange
