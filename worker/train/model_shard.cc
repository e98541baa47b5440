#include "worker/train/model_shard.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/csr/pattern.h"

namespace filigree::train {
namespace {

using model::TensorInfo;

// A rank's values of a tensor as runs of the whole tensor's stored values, in the order of the rank's own:
// f(Run).
struct Run {
  int64_t begin, count;               // among the whole tensor's stored values
  int64_t row, column, whole_column;  // of the rank's shape, where the stripe of columns begins, and of the whole there
};

template <typename F>
void ForEachRun(const TensorInfo& info, const kernels::PatternView* whole, F f) {
  const int64_t whole_cols = info.shared ? info.col_range.whole : info.cols;
  const int64_t width = info.shared ? info.cols / info.col_range.stripes : info.cols;
  if (width == 0) return;
  for (int64_t r = 0; r < info.rows; ++r) {
    const int64_t row = info.shared ? info.row_range.WholeIndex(r, info.rows) : r;
    for (int64_t c = 0; c < info.cols; c += width) {
      const int64_t first = info.shared ? info.col_range.WholeIndex(c, info.cols) : c;
      if (whole == nullptr) {
        f(Run{row * whole_cols + first, width, r, c, first});
        continue;
      }
      const uint16_t *begin = whole->col_indices + whole->row_offsets[row],
                     *end = whole->col_indices + whole->row_offsets[row + 1];
      const uint16_t* from = std::lower_bound(begin, end, first);
      const uint16_t* to = std::lower_bound(from, end, first + width);
      f(Run{from - whole->col_indices, to - from, r, c, first});
    }
  }
}

kernels::Pattern PartOf(const TensorInfo& info, const kernels::PatternView& whole) {
  int64_t entries = 0;
  ForEachRun(info, &whole, [&](const Run& run) { entries += run.count; });
  kernels::Pattern part(static_cast<int>(info.rows), static_cast<int>(info.cols), entries);
  uint32_t next = 0;
  ForEachRun(info, &whole, [&](const Run& run) {
    for (int64_t e = run.begin; e < run.begin + run.count; ++e) {
      part.col_indices()[next++] = static_cast<uint16_t>(whole.col_indices[e] - run.whole_column + run.column);
    }
    part.row_offsets()[run.row + 1] = next;
  });
  return part;
}

// The first n values of a buffer that grows where it must.
std::span<float> Room(int64_t n, kernels::Buffer<float>& buffer) {
  if (static_cast<int64_t>(buffer.size()) < n) buffer = kernels::Buffer<float>(static_cast<size_t>(n));
  return {buffer.data(), static_cast<size_t>(n)};
}

}  // namespace

ModelShard::ModelShard(const TrainState& whole, model::Shard shard, std::vector<int> owners)
    : whole_(whole),
      shard_(shard),
      owners_(std::move(owners)),
      versions_(whole.registry.size(), -1),
      kept_(whole.registry.size()) {
  registries_.reserve(shard.size);
  for (int rank = 0; rank < shard.size; ++rank) registries_.emplace_back(whole.spec, model::Shard{rank, shard.size});
  layout_ = std::make_shared<model::Layout>(registry().numels());
  Take();
}

void ModelShard::TakeCandidates() {
  std::vector<model::Layout::Change> changes;
  for (const TensorInfo& info : registry().tensors()) {
    const int64_t version = whole_.layout->version(info.index);
    if (version == versions_[info.index]) continue;
    versions_[info.index] = version;
    const kernels::PatternView* candidates = whole_.layout->candidates(info.index);
    if (candidates != nullptr) changes.push_back({info.index, PartOf(info, *candidates)});
  }
  if (weights_ != nullptr && changes.empty()) return;
  layout_->Apply(std::move(changes));
  weights_ = std::make_unique<model::Arena>(layout_);
}

void ModelShard::Take() {
  TakeCandidates();
  for (const TensorInfo& info : registry().tensors()) {
    const int t = info.index;
    const kernels::PatternView* candidates = whole_.layout->candidates(t);
    const float* from = whole_.weights.tensor(whole_.registry[t]);
    float* to = weights_->tensor(info);
    const uint64_t* kept = whole_.masks.kept(t);
    kept_[t].assign(kept == nullptr ? 0 : (layout_->stored(t) + 63) / 64, 0);
    int64_t bit = 0;
    ForEachRun(info, candidates, [&](const Run& run) {
      to = std::copy_n(from + run.begin, run.count, to);
      for (int64_t e = run.begin; kept != nullptr && e < run.begin + run.count; ++e, ++bit) {
        kept_[t][bit / 64] |= (kept[e / 64] >> (e % 64) & 1) << (bit % 64);
      }
    });
  }
}

int64_t ModelShard::ValuesFor(int owner, int rank) const {
  int64_t values = 0;
  for (const TensorInfo& info : registries_[rank].tensors()) {
    if (!info.shared || this->owner(info.index) != owner) continue;
    ForEachRun(info, whole_.layout->candidates(info.index), [&](const Run& run) { values += run.count; });
  }
  return values;
}

float* ModelShard::TakePart(int owner, const model::Arena& part, float* to) const {
  for (const TensorInfo& info : registry().tensors()) {
    if (!info.shared || this->owner(info.index) != owner) continue;
    to = std::copy_n(part.tensor(info), layout_->stored(info.index), to);
  }
  return to;
}

const float* ModelShard::PutPart(int owner, int rank, const float* from) {
  for (const TensorInfo& info : registries_[rank].tensors()) {
    if (!info.shared || this->owner(info.index) != owner) continue;
    float* to = gradient_->tensor(whole_.registry[info.index]);
    ForEachRun(info, whole_.layout->candidates(info.index), [&](const Run& run) {
      std::copy_n(from, run.count, to + run.begin);
      from += run.count;
    });
  }
  return from;
}

// Every rank of the group has computed all of these.
void ModelShard::CopyUnshared(const model::Arena& part) {
  for (const TensorInfo& info : registry().tensors()) {
    const int owner = this->owner(info.index);
    if (info.shared || (owner >= 0 && owner != shard_.rank)) continue;
    std::copy_n(part.tensor(info), layout_->stored(info.index), gradient_->tensor(whole_.registry[info.index]));
  }
}

absl::Status ModelShard::GatherForAll(comm::Communicator& group, const model::Arena& part) {
  std::vector<int64_t> counts(shard_.size);
  for (int rank = 0; rank < shard_.size; ++rank) counts[rank] = ValuesFor(-1, rank);
  const std::span<float> all = Room(std::accumulate(counts.begin(), counts.end(), int64_t{0}), received_);
  const std::span<float> mine = Room(counts[shard_.rank], sent_);
  TakePart(-1, part, mine.data());
  absl::Status status = group.AllGather(comm::ArrayOf(std::span<const float>(mine)), counts, comm::ArrayOf(all));
  if (!status.ok()) return status;
  const float* from = all.data();
  for (int rank = 0; rank < shard_.size; ++rank) from = PutPart(-1, rank, from);
  return absl::OkStatus();
}

absl::Status ModelShard::SendToOwners(comm::Communicator& group, const model::Arena& part) {
  std::vector<int64_t> send(shard_.size), receive(shard_.size);
  for (int rank = 0; rank < shard_.size; ++rank) {
    send[rank] = ValuesFor(rank, shard_.rank);
    receive[rank] = ValuesFor(shard_.rank, rank);
  }
  const std::span<float> out = Room(std::accumulate(send.begin(), send.end(), int64_t{0}), sent_);
  const std::span<float> in = Room(std::accumulate(receive.begin(), receive.end(), int64_t{0}), received_);
  float* to = out.data();
  for (int rank = 0; rank < shard_.size; ++rank) to = TakePart(rank, part, to);
  absl::Status status = group.AllToAll(comm::ArrayOf(std::span<const float>(out)), send, comm::ArrayOf(in), receive);
  if (!status.ok()) return status;
  const float* from = in.data();
  for (int rank = 0; rank < shard_.size; ++rank) from = PutPart(shard_.rank, rank, from);
  return absl::OkStatus();
}

absl::Status ModelShard::GatherGradient(comm::Communicator& group, const model::Arena& part) {
  if (gradient_ == nullptr || gradient_->size() < whole_.layout->floats()) {
    gradient_ = std::make_unique<model::Arena>(whole_.layout);
    if (!owners_.empty()) gradient_->UseSmallPages();
  }
  CopyUnshared(part);
  absl::Status status = GatherForAll(group, part);
  if (status.ok() && !owners_.empty()) status = SendToOwners(group, part);
  return status;
}

absl::StatusOr<std::vector<double>> ModelShard::GatherChannels(comm::Communicator& group, std::span<const double> part,
                                                               const std::vector<bool>& has_channels) const {
  std::vector<int64_t> counts;
  int64_t total = 0;
  for (const model::Registry& registry : registries_) {
    int64_t count = 0;
    for (const TensorInfo& info : registry.tensors()) count += has_channels[info.index] ? info.rows + info.cols : 0;
    counts.push_back(count);
    total += count;
  }
  std::vector<double> all(total);
  if (absl::Status status = group.AllGather(comm::ArrayOf(part), counts, comm::ArrayOf(std::span<double>(all)));
      !status.ok()) {
    return status;
  }
  std::vector<int64_t> offsets(whole_.registry.size());
  int64_t size = 0;
  for (const TensorInfo& info : whole_.registry.tensors()) {
    offsets[info.index] = size;
    size += has_channels[info.index] ? info.rows + info.cols : 0;
  }
  std::vector<double> whole(size);
  const double* from = all.data();
  for (const model::Registry& registry : registries_) {
    for (const TensorInfo& info : registry.tensors()) {
      if (!has_channels[info.index]) continue;
      double* rows = whole.data() + offsets[info.index];
      double* cols = rows + whole_.registry[info.index].rows;
      for (int64_t r = 0; r < info.rows; ++r) rows[info.shared ? info.row_range.WholeIndex(r, info.rows) : r] = *from++;
      for (int64_t c = 0; c < info.cols; ++c) cols[info.shared ? info.col_range.WholeIndex(c, info.cols) : c] = *from++;
    }
  }
  return whole;
}

}  // namespace filigree::train
