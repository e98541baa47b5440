#include "worker/train/stored_arenas.h"

#include <algorithm>
#include <utility>

#include "kernels/base/buffer.h"

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

absl::Status Fill(const checkpoint::Checkpoint& from, const model::Registry& registry, const StoredArenas& stored,
                  model::Arena& weights, model::Arena* m, model::Arena* v, mask::MaskSet* masks) {
  for (const model::TensorInfo& info : registry.tensors()) {
    const int i = info.index;
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
