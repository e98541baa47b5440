#include "worker/run/start_from.h"

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/keys.h"
#include "worker/config/value.h"
#include "worker/train/candidates.h"
#include "worker/train/refresh_memory.h"
#include "worker/train/stored_arenas.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

// "model.afrac is 0.5 there and 0.25 here; ...": every setting of the model that differs. n_ctx says nothing about a
// model without positions.
std::string ModelDifferences(const config::Settings& there, const config::Settings& here) {
  const bool positions = there.model.d_pos_emb > 0 || here.model.d_pos_emb > 0;
  std::string text;
  for (const config::Key& key : config::Keys()) {
    if (key.section() != "model" || (key.name == "model.n_ctx" && !positions)) continue;
    const std::string a = config::FormatValue(key, there), b = config::FormatValue(key, here);
    if (a != b) text += fmt::format("{}{} is {} there and {} here", text.empty() ? "" : "; ", key.name, a, b);
  }
  return text;
}

bool OnCandidates(const config::Settings& settings, const model::TensorInfo& info,
                  const checkpoint::StoredTensor& tensor) {
  return tensor.sparse && FirstCandidates(settings, info) > 0;
}

// What was stored dense is whole in memory until candidates are chosen, whatever the run needs afterwards.
absl::Status CheckFirstChoice(const checkpoint::Checkpoint& from, const config::Settings& settings,
                              const model::Registry& registry, int threads, int64_t available) {
  std::vector<GivenTensor> given(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) {
    const checkpoint::StoredTensor* tensor = from.Find(info.name);
    if (tensor == nullptr) return absl::OkStatus();  // another model, which is said elsewhere
    const bool on_candidates = OnCandidates(settings, info, *tensor);
    const int64_t set = tensor->candidates > 0 ? tensor->candidates : tensor->kept;
    given[info.index] = {on_candidates ? set : info.numel(), on_candidates};
  }
  const int64_t need = MemoryOfFirstChoice(settings, registry, given, threads);
  if (need <= available) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("its weights need {:.1f} GB of memory until the first candidates are chosen among them, and this "
                  "machine has {:.1f} GB for a rank; they need less from a checkpoint whose matrices are sparse",
                  static_cast<double>(need) / 1e9, static_cast<double>(available) / 1e9));
}

// The weights alone, in a fresh state.
absl::StatusOr<std::unique_ptr<TrainState>> TakeWeights(const checkpoint::Checkpoint& from,
                                                        const config::Settings& settings, const model::ModelSpec& spec,
                                                        kernels::ThreadPool& pool, int64_t available) {
  const model::Registry registry(spec);
  absl::Status fits = CheckFirstChoice(from, settings, registry, pool.threads(), available);
  if (!fits.ok()) return fits;
  absl::StatusOr<StoredArenas> stored =
      ReadSets(from, registry, [&](const model::TensorInfo& info, const checkpoint::StoredTensor& tensor) {
        return OnCandidates(settings, info, tensor);
      });
  if (!stored.ok()) return stored.status();
  auto state = std::make_unique<TrainState>(spec, settings, stored->layout);
  absl::Status status = Fill(from, state->registry, *stored, state->weights, nullptr, nullptr, nullptr);
  if (!status.ok()) return status;
  if (settings.sparsity.regime == config::Regime::kActive) ChooseFirstCandidates(settings, pool, *state);
  return state;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainState>> StartFrom(const config::Settings& settings, const data::Corpus& corpus,
                                                      const model::ModelSpec& spec, kernels::ThreadPool& pool,
                                                      int64_t available, std::vector<std::string>& notes) {
  const std::string& source = settings.init.from;
  const absl::StatusOr<checkpoint::Checkpoint> from = checkpoint::LoadAny(checkpoint::RealFileSystem(), source, &notes);
  if (!from.ok()) return from.status();
  const absl::StatusOr<config::Settings> stored = StoredSettings(*from);
  const std::string differences = stored.ok() ? ModelDifferences(*stored, settings) : "";
  absl::StatusOr<std::unique_ptr<TrainState>> state = TakeWeights(*from, settings, spec, pool, available);
  if (!state.ok()) {
    return absl::Status(state.status().code(),
                        fmt::format("init.from = {}: {}{}{}", source, std::string(state.status().message()),
                                    differences.empty() ? "" : ": ", differences));
  }
  notes.push_back(fmt::format("starts from the weights of {}", from->path()));
  if (!differences.empty()) notes.push_back(fmt::format("the model it starts from was another: {}", differences));
  const absl::StatusOr<std::string> tokenizer = from->Text(checkpoint::texts::kTokenizerSha256);
  if (tokenizer.ok() && *tokenizer != corpus.tokenizer().digest()) {
    notes.push_back(
        fmt::format("{} was trained with another tokenizer than {} has: its embeddings belong to other tokens",
                    from->path(), corpus.dir()));
  }
  return state;
}

}  // namespace filigree::train
