#include "worker/train/stored_arenas.h"

#include <algorithm>
#include <utility>

#include "kernels/base/buffer.h"
#include "worker/mask/refresh.h"
#include "worker/train/candidates.h"

namespace filigree::train {
namespace {

std::vector<checkpoint::NamedShape> Shapes(const model::Registry& registry) {
  std::vector<checkpoint::NamedShape> shapes;
  shapes.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) shapes.push_back({info.name, info.shape});
  return shapes;
}

void CopyTo(const kernels::Buffer<float>& from, const model::TensorInfo& info, model::Arena* to) {
  if (to != nullptr) std::copy_n(from.data(), to->layout().stored(info.index), to->tensor(info));
}

// The values and bits that a set takes along from a whole matrix.
void Gather(const mask::Membership& set, const kernels::Buffer<float>& from, kernels::Buffer<float>& to) {
  to = kernels::Buffer<float>(set.source.size());
  for (size_t e = 0; e < to.size(); ++e) to[e] = from[set.source[e]];
}

kernels::Buffer<uint64_t> GatherBits(const mask::Membership& set, const kernels::Buffer<uint64_t>& from) {
  kernels::Buffer<uint64_t> to((set.source.size() + 63) / 64);
  for (size_t e = 0; e < set.source.size(); ++e) {
    const uint32_t i = set.source[e];
    to[e / 64] |= (from[i / 64] >> (i % 64) & 1) << (e % 64);
  }
  return to;
}

// A matrix that the checkpoint holds whole, on the `wanted` best of its entries.
absl::StatusOr<checkpoint::CandidateTensor> Narrowed(const checkpoint::Checkpoint& from, const model::TensorInfo& info,
                                                     int64_t wanted, double eps, kernels::ThreadPool& pool) {
  const auto numel = static_cast<size_t>(info.numel());
  kernels::Buffer<float> weight(numel), m(numel), v(numel);
  kernels::Buffer<uint64_t> kept((numel + 63) / 64);
  absl::Status status = from.CopyInto(info.name, info.shape, weight.data(), m.data(), v.data(), kept.data());
  if (!status.ok()) return status;
  mask::Membership set = mask::Narrow(
      {static_cast<int>(info.rows), static_cast<int>(info.cols), m.data(), v.data(), kept.data(), wanted, eps}, pool);
  checkpoint::CandidateTensor narrowed;
  Gather(set, weight, narrowed.weight);
  Gather(set, m, narrowed.m);
  Gather(set, v, narrowed.v);
  narrowed.kept = GatherBits(set, kept);
  narrowed.pattern = std::move(set.pattern);
  return narrowed;
}

}  // namespace

absl::StatusOr<StoredArenas> ReadSets(
    const checkpoint::Checkpoint& from, const model::Registry& registry,
    const std::function<bool(const model::TensorInfo&, const checkpoint::StoredTensor&)>& on_candidates) {
  absl::Status status = from.CheckModel(Shapes(registry));
  if (!status.ok()) return status;
  StoredArenas stored{std::make_shared<model::Layout>(registry.numels()),
                      std::vector<std::optional<checkpoint::CandidateTensor>>(registry.size())};
  std::vector<model::Layout::Change> patterns;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.shape.size() != 2 || !on_candidates(info, *from.Find(info.name))) continue;
    absl::StatusOr<checkpoint::CandidateTensor> set = from.CopyCandidates(info.name, info.shape);
    if (!set.ok()) return set.status();
    patterns.push_back({info.index, std::move(set->pattern)});
    stored.sets[info.index] = *std::move(set);
  }
  stored.layout->Apply(std::move(patterns));
  return stored;
}

absl::Status NarrowSets(const checkpoint::Checkpoint& from, const model::Registry& registry,
                        const config::Settings& settings, kernels::ThreadPool& pool, StoredArenas& stored) {
  std::vector<model::Layout::Change> patterns;
  std::vector<int64_t> kept;
  kept.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) kept.push_back(from.Find(info.name)->kept);
  const std::vector<int64_t> all_wanted = WantedCandidates(settings, registry, from.step() - 1, kept);
  for (const model::TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info) || stored.sets[info.index].has_value()) continue;
    const int64_t wanted = all_wanted[info.index];
    if (wanted == info.numel() && settings.sparsity.dense_phase) continue;
    absl::StatusOr<checkpoint::CandidateTensor> set = Narrowed(from, info, wanted, settings.optim.eps, pool);
    if (!set.ok()) return set.status();
    patterns.push_back({info.index, std::move(set->pattern)});
    stored.sets[info.index] = *std::move(set);
  }
  stored.layout->Apply(std::move(patterns));
  return absl::OkStatus();
}

absl::Status Fill(const checkpoint::Checkpoint& from, const model::Registry& registry, const StoredArenas& stored,
                  model::Arena& weights, model::Arena* all_m, model::Arena* all_v, mask::MaskSet* masks,
                  const std::function<bool(int)>& wants_moments) {
  for (const model::TensorInfo& info : registry.tensors()) {
    const int i = info.index;
    const bool wanted = wants_moments == nullptr || wants_moments(i);
    model::Arena *const m = wanted ? all_m : nullptr, *const v = wanted ? all_v : nullptr;
    const int64_t values = stored.layout->stored(i);
    const bool masked = from.Find(info.name)->has_mask && masks != nullptr && masks->sparsified(i);
    if (const auto& set = stored.sets[i]; set.has_value()) {
      CopyTo(set->weight, info, &weights);
      CopyTo(set->m, info, m);
      CopyTo(set->v, info, v);
      if (masks != nullptr) masks->Restore(i, masked ? set->kept.data() : nullptr, values, {});
      continue;
    }
    kernels::Buffer<uint64_t> kept(masked ? static_cast<size_t>((values + 63) / 64) : 0);
    absl::Status status = from.CopyInto(info.name, info.shape, weights.tensor(info), m ? m->tensor(info) : nullptr,
                                        v ? v->tensor(info) : nullptr, masked ? kept.data() : nullptr);
    if (!status.ok()) return status;
    if (masks != nullptr && masks->sparsified(i)) masks->Restore(i, masked ? kept.data() : nullptr, values, {});
  }
  return absl::OkStatus();
}

}  // namespace filigree::train
