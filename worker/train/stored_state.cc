#include "worker/train/stored_state.h"

#include <charconv>
#include <utility>

#include "fmt/format.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer_files.h"
#include "worker/train/candidates.h"
#include "worker/train/ownership.h"
#include "worker/train/stored_arenas.h"

namespace filigree::train {
namespace {

// Entries of the state's matrices on candidates, and of the same matrices whole.
std::pair<int64_t, int64_t> CandidateEntries(const TrainState& state) {
  int64_t candidates = 0, whole = 0;
  for (const model::TensorInfo& info : state.registry.tensors()) {
    if (state.layout->candidates(info.index) == nullptr) continue;
    candidates += state.layout->stored(info.index);
    whole += info.numel();
  }
  return {candidates, whole};
}

// What a run that was exact is told when it goes on among candidates.
std::string NoteOfDrop(const TrainState& state) {
  const auto [candidates, whole] = CandidateEntries(state);
  if (whole == 0) {
    return "the checkpoint is of the exact regime: its matrices are whole as long as the candidates would be all of "
           "their "
           "entries, and drop to them in a later step";
  }
  if (candidates == whole) {
    return "the checkpoint is of the exact regime: all entries of its matrices are candidates here, and nothing is "
           "lost; they drop to fewer in a later step";
  }
  return fmt::format(
      "the checkpoint is of the exact regime: from here on {} of {} entries of its matrices exist, the mask and those "
      "of the rest that had moved most; the moments of all others are dropped",
      candidates, whole);
}

std::string NoteOfStorage(config::ActivationStorage now) {
  const bool bf16 = now == config::ActivationStorage::kBf16;
  return fmt::format(
      "the checkpoint is of a run that kept activations as {}: from here on they are {}; weights and moments are taken "
      "over whole, losses and the rest of the run {}",
      bf16 ? "fp32" : "bf16", bf16 ? "bf16" : "fp32",
      bf16 ? "are those of rounded activations" : "are without their rounding");
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
    tensor.candidates = state.layout->candidates(i);
    view.tensors.push_back(std::move(tensor));
  }
  return view;
}

absl::StatusOr<std::unique_ptr<TrainState>> Restore(const checkpoint::Checkpoint& from, const model::ModelSpec& spec,
                                                    const config::Settings& settings, kernels::ThreadPool& pool,
                                                    std::vector<std::string>& notes, const PlaceInGrid& place) {
  const bool active = settings.sparsity.regime == config::Regime::kActive;
  const absl::StatusOr<config::Settings> was = StoredSettings(from);
  const bool was_exact = was.ok() && was->sparsity.regime == config::Regime::kExact;
  const model::Registry registry(spec);
  int64_t spread = 0;  // matrices that were on candidates and are whole from now on
  absl::StatusOr<StoredArenas> stored =
      ReadSets(from, registry, [&](const model::TensorInfo& info, const checkpoint::StoredTensor& tensor) {
        spread += tensor.candidates > 0 && !active ? 1 : 0;
        return active && tensor.candidates > 0 && MayHaveCandidates(info);
      });
  if (!stored.ok()) return stored.status();
  if (active && was_exact && from.step() > 0) {
    if (absl::Status status = NarrowSets(from, registry, settings, pool, *stored); !status.ok()) return status;
  }
  auto state = std::make_unique<TrainState>(spec, settings, stored->layout);
  // The first candidates are chosen with moments as room for all weights.
  const bool chooses = active && was_exact && from.step() == 0;
  const std::vector<bool> held = HeldBy(settings, registry, place.grid, place.rank);
  if (!chooses) state->HoldMoments(held);
  absl::Status status =
      Fill(from, state->registry, *stored, state->weights, &state->optimizer.m(), &state->optimizer.v(), &state->masks,
           [&state](int tensor) { return state->HoldsMoments(tensor); });
  if (!status.ok()) return status;
  state->step = from.step();
  state->position = from.position();
  if (active && was_exact) {
    if (chooses) ChooseFirstCandidates(settings, pool, *state);
    if (chooses) state->HoldMoments(held);
    notes.push_back(NoteOfDrop(*state));
  }
  if (was.ok() && was->model.activation_storage != settings.model.activation_storage) {
    notes.push_back(NoteOfStorage(settings.model.activation_storage));
  }
  if (spread > 0) {
    notes.push_back(fmt::format(
        "the checkpoint is of the active regime: {} matrices are whole from here on; entries that were no candidates "
        "begin with weight and moments 0, and what candidates were chosen is lost",
        spread));
  }
  return state;
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
  const auto sparse = [](const model::TensorInfo& info, const checkpoint::StoredTensor& tensor) {
    return MayHaveCandidates(info) && tensor.sparse && 4 * tensor.kept < info.numel();
  };
  absl::StatusOr<StoredArenas> stored = ReadSets(*from, *loaded->registry, sparse);
  if (!stored.ok()) return stored.status();
  loaded->weights = std::make_unique<model::Arena>(stored->layout);
  loaded->masks = std::make_unique<mask::MaskSet>(*loaded->registry, 0, loaded->settings.sparsity.biases);
  if (absl::Status status =
          Fill(*from, *loaded->registry, *stored, *loaded->weights, nullptr, nullptr, loaded->masks.get());
      !status.ok()) {
    return status;
  }
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
