#include "worker/run/run_facts.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/auto_policy.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer_files.h"
#include "worker/mask/density.h"
#include "worker/mask/mask_set.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

std::string Count(double n) {
  if (n >= 1e9) return fmt::format("{:.2f} G", n / 1e9);
  if (n >= 1e6) return fmt::format("{:.2f} M", n / 1e6);
  return fmt::format("{:.0f}", n);
}

// Nonzero weights of the sparsified matrices at the end of the run.
int64_t FinalNonzeros(const TrainState& state, const config::SparsitySettings& sparsity) {
  int64_t sum = 0;
  for (int i = 0; i < state.registry.size(); ++i) {
    const model::TensorInfo& info = state.registry[i];
    if (!state.masks.sparsified(i)) continue;
    const bool embedding = info.density == model::Density::kEmbedding;
    sum += mask::KeptEntries(embedding ? sparsity.embedding_density : sparsity.density, info.numel());
  }
  return sum;
}

// Which regime, and why, or against what "auto" would take.
std::string RegimeText(const config::SparsitySettings& sparsity) {
  const bool active = sparsity.regime == config::Regime::kActive;
  std::string text = "exact: gradients and moments dense";
  if (active) {
    text = fmt::format("active: weights, moments and gradients on {:g} candidates an entry of the mask, {}",
                       sparsity.candidates,
                       sparsity.refresh_every == 0 ? "never new ones"
                                                   : fmt::format("new ones every {} steps", sparsity.refresh_every));
  }
  const bool starts_sparse = config::BetterRegime(sparsity) == config::Regime::kActive;
  text += starts_sparse == active ? "; with such a start \"auto\" takes it"
                                  : "; asked for, with such a start \"auto\" takes the other one";
  text += fmt::format(", as {:g} candidates an entry at density {:g} are {}", sparsity.candidates,
                      sparsity.anneal_shape == config::AnnealShape::kConstant
                          ? sparsity.density
                          : std::max(sparsity.density_start, sparsity.density),
                      starts_sparse ? "less than everything" : "everything");
  return text;
}

// What the coordinator decided for one generation of a job is not the run's: it may go on elsewhere, or by hand.
config::Settings WithoutPlacement(config::Settings settings) {
  const config::Settings defaults;
  settings.parallel.data = defaults.parallel.data;
  settings.parallel.tensor = defaults.parallel.tensor;
  settings.parallel.backend = defaults.parallel.backend;
  settings.telemetry.job = defaults.telemetry.job;
  return settings;
}

bool HasText(const std::string& path, const std::string& text) {
  std::ifstream file(path, std::ios::binary);
  const std::string there((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return file.is_open() && there == text;
}

}  // namespace

telemetry::RunRecord DescribeRun(const OpenedRun& run, const machine::Machine& machine, const std::string& revision,
                                 const parallel::World* world) {
  const config::Settings& settings = run.settings;
  const TrainState& state = *run.state;
  const data::Manifest& corpus = run.corpus->manifest();
  telemetry::RunRecord record;
  record.step = state.step;
  record.steps = settings.run.steps;
  record.tokens_per_step = settings.train.batch * settings.model.n_ctx;
  record.name = settings.run.name;
  record.baselines = BaselinesOf(corpus);
  const auto fact = [&record](const char* name, const std::string& text) { record.facts.push_back({name, text}); };
  fact("parameters", Count(static_cast<double>(state.registry.trained_elements())));
  fact("nonzeros at the end",
       fmt::format("{} in sparsified matrices", Count(static_cast<double>(FinalNonzeros(state, settings.sparsity)))));
  fact("regime", RegimeText(settings.sparsity));
  fact("tokens in all", Count(static_cast<double>(record.tokens_per_step) * static_cast<double>(record.steps)));
  fact("corpus", fmt::format("{}, {} training tokens, vocabulary {}", run.corpus->dir(),
                             Count(static_cast<double>(corpus.train.tokens)), corpus.vocab));
  fact("machine", machine.Describe());
  if (world != nullptr && world->size() > 1) fact("ranks", world->Describe());
  fact("seed", std::to_string(settings.run.seed));
  fact("program", revision);
  return record;
}

std::vector<telemetry::NamedValue> BaselinesOf(const data::Manifest& manifest) {
  return {{"uniform", manifest.baselines.uniform_nats},
          {"unigram", manifest.baselines.unigram_nats},
          {"bigram", manifest.baselines.bigram_nats}};
}

checkpoint::State SavedView(const OpenedRun& run) {
  checkpoint::State view = StoredView(*run.state, static_cast<uint64_t>(run.settings.run.seed));
  const data::Tokenizer& tokenizer = run.corpus->tokenizer();
  view.texts[checkpoint::texts::kConfig] = config::ToToml(run.settings);
  view.texts[checkpoint::texts::kVocab] = std::to_string(run.state->spec.vocab);
  view.texts[checkpoint::texts::kRunName] = run.settings.run.name;
  view.texts[checkpoint::texts::kCorpusDigest] = run.corpus->digest();
  view.texts[checkpoint::texts::kTokenizerSha256] = tokenizer.digest();
  std::vector<std::string> bytes;
  bytes.reserve(tokenizer.end_of_text());
  for (int id = 0; id < tokenizer.end_of_text(); ++id) bytes.push_back(tokenizer.TokenBytes(id));
  view.texts[checkpoint::texts::kTokenizerJson] = data::FormatTokenizerJson(tokenizer.merges(), bytes);
  return view;
}

std::string StoredSettingsText(const config::Settings& settings) {
  return config::ToToml(settings.telemetry.job.empty() ? settings : WithoutPlacement(settings));
}

absl::Status StoreSettings(checkpoint::FileSystem& files, const config::Settings& settings) {
  const std::string path = StoredSettingsPath(settings.run.dir), temporary = path + ".tmp";
  const std::string text = StoredSettingsText(settings);
  if (HasText(path, text)) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<checkpoint::WritableFile>> file = files.Create(temporary);
  if (!file.ok()) return file.status();
  absl::Status status = (*file)->Append(text.data(), text.size());
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = (*file)->Close();
  if (status.ok()) status = files.Rename(temporary, path);
  return status;
}

}  // namespace filigree::train
