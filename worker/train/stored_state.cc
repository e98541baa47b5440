#include "worker/train/stored_state.h"

#include <charconv>

#include "fmt/format.h"
#include "kernels/base/buffer.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer_files.h"

namespace filigree::train {
namespace {

std::vector<checkpoint::NamedShape> Shapes(const model::Registry& registry) {
  std::vector<checkpoint::NamedShape> shapes;
  shapes.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) shapes.push_back({info.name, info.shape});
  return shapes;
}

}  // namespace

checkpoint::State StoredView(const TrainState& state, uint64_t seed) {
  checkpoint::State view;
  view.step = state.step;
  view.position = state.position;
  view.seed = seed;
  for (int i = 0; i < state.registry.size(); ++i) {
    const model::TensorInfo& info = state.registry[i];
    checkpoint::StateTensor tensor;
    tensor.name = info.name;
    tensor.shape = info.shape;
    tensor.weight = state.weights.tensor(info);
    tensor.m = state.optimizer.m().tensor(info);
    tensor.v = state.optimizer.v().tensor(info);
    tensor.kept = state.masks.kept(i);
    view.tensors.push_back(std::move(tensor));
  }
  return view;
}

absl::Status Restore(const checkpoint::Checkpoint& from, TrainState& state) {
  absl::Status status = RestoreWeights(from, state.registry, state.weights, &state.masks);
  for (int i = 0; status.ok() && i < state.registry.size(); ++i) {
    const model::TensorInfo& info = state.registry[i];
    status = from.CopyInto(info.name, info.shape, nullptr, state.optimizer.m().tensor(info),
                           state.optimizer.v().tensor(info), nullptr);
  }
  if (!status.ok()) return status;
  state.step = from.step();
  state.position = from.position();
  return absl::OkStatus();
}

absl::Status RestoreWeights(const checkpoint::Checkpoint& from, const model::Registry& registry, model::Arena& weights,
                            mask::MaskSet* masks) {
  if (absl::Status status = from.CheckModel(Shapes(registry)); !status.ok()) return status;
  for (int i = 0; i < registry.size(); ++i) {
    const model::TensorInfo& info = registry[i];
    const bool masked = from.Find(info.name)->has_mask && masks != nullptr && masks->sparsified(i);
    kernels::Buffer<uint64_t> kept(masked ? static_cast<size_t>((info.numel() + 63) / 64) : 0);
    const absl::Status status =
        from.CopyInto(info.name, info.shape, weights.tensor(info), nullptr, nullptr, masked ? kept.data() : nullptr);
    if (!status.ok()) return status;
    if (masks != nullptr && masks->sparsified(i)) masks->Restore(i, masked ? kept.data() : nullptr, info.numel(), {});
  }
  return absl::OkStatus();
}

absl::StatusOr<config::Settings> StoredSettings(const checkpoint::Checkpoint& from) {
  const absl::StatusOr<std::string> text = from.Text(checkpoint::texts::kConfig);
  if (!text.ok()) return text.status();
  return config::Parse(*text, from.path() + ": config.toml");
}

absl::StatusOr<int> StoredVocab(const checkpoint::Checkpoint& from) {
  const absl::StatusOr<std::string> text = from.Text(checkpoint::texts::kVocab);
  if (!text.ok()) return text.status();
  int vocab = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), vocab);
  if (error != std::errc() || end != text->data() + text->size()) {
    return absl::DataLossError(fmt::format("{}: vocab is '{}', expected a number", from.path(), *text));
  }
  return vocab;
}

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const std::string& path, kernels::ThreadPool& pool,
                                                       std::vector<std::string>* warnings) {
  const absl::StatusOr<checkpoint::Checkpoint> from = checkpoint::LoadAny(checkpoint::RealFileSystem(), path, warnings);
  if (!from.ok()) return from.status();
  auto loaded = std::make_unique<LoadedModel>();
  absl::StatusOr<config::Settings> settings = StoredSettings(*from);
  if (!settings.ok()) return settings.status();
  const absl::StatusOr<int> vocab = StoredVocab(*from);
  if (!vocab.ok()) return vocab.status();
  absl::StatusOr<model::ModelSpec> spec = model::MakeSpec(settings->model, *vocab);
  if (!spec.ok()) return spec.status();

  loaded->settings = *std::move(settings);
  loaded->spec = *std::move(spec);
  loaded->step = from->step();
  loaded->path = from->path();
  loaded->registry = std::make_unique<model::Registry>(loaded->spec);
  loaded->weights = std::make_unique<model::Arena>(*loaded->registry);
  loaded->masks = std::make_unique<mask::MaskSet>(*loaded->registry, 0, loaded->settings.sparsity.biases);
  absl::Status status = RestoreWeights(*from, *loaded->registry, *loaded->weights, loaded->masks.get());
  if (!status.ok()) return status;
  if (const auto json = from->texts().find(checkpoint::texts::kTokenizerJson); json != from->texts().end()) {
    absl::StatusOr<data::Tokenizer> tokenizer = data::ParseTokenizerJson(json->second, loaded->path);
    if (!tokenizer.ok()) return tokenizer.status();
    loaded->tokenizer = *std::move(tokenizer);
  }
  loaded->network = std::make_unique<model::Network>(loaded->spec, *loaded->registry, pool);
  const mask::MaskSet& masks = *loaded->masks;
  loaded->network->SetWeights(
      *loaded->weights, [&masks](int tensor) { return masks.kept(tensor); },
      [&masks](int tensor) { return masks.nonzeros(tensor); });
  return loaded;
}

}  // namespace filigree::train
