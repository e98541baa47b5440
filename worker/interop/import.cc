#include "worker/interop/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <optional>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer.h"
#include "worker/data/tokenizer_files.h"
#include "worker/interop/foreign_weights.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"

namespace filigree::interop {
namespace {

namespace fs = std::filesystem;
namespace texts = checkpoint::texts;

constexpr uint64_t kMaxConfigBytes = 1 << 20;

absl::StatusOr<Format> DetectFormat(const std::string& source) {
  std::error_code error;
  for (const Format format : {Format::kOpenAi, Format::kHuggingFace}) {
    if (fs::exists(fs::path(source) / ConfigName(format), error) &&
        fs::exists(fs::path(source) / WeightsName(format), error)) {
      return format;
    }
  }
  return absl::NotFoundError(fmt::format("{} holds neither {} and {} nor {} and {}", source,
                                         ConfigName(Format::kOpenAi), WeightsName(Format::kOpenAi),
                                         ConfigName(Format::kHuggingFace), WeightsName(Format::kHuggingFace)));
}

absl::Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_empty(folder, error)) {
    return absl::InvalidArgumentError(fmt::format("{} holds something already; give a new folder", folder));
  }
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), fmt::format("cannot create the folder {}", folder));
  return absl::OkStatus();
}

// Settings that describe the model; everything about training is at its default but for the density, which an import
// does not know.
absl::StatusOr<config::Settings> SettingsOf(const ReleasedConfig& released, const std::string& source) {
  config::Settings settings;
  settings.model = released.model;
  settings.sparsity.density = settings.sparsity.embedding_density = 1;
  settings.run.name = fs::path(source).lexically_normal().filename().string();
  settings.run.name.erase(
      std::remove_if(settings.run.name.begin(), settings.run.name.end(), [](char c) { return c < ' ' || c > '~'; }),
      settings.run.name.end());
  config::Resolve(settings);
  absl::Status status = config::Validate(settings);
  if (!status.ok()) return status;
  return settings;
}

// The tokenizer beside the weights, as tokenizer.json; nothing where there is none that fits.
std::optional<data::Tokenizer> FindTokenizer(const std::string& source, int vocab, std::vector<std::string>& notes) {
  auto tokenizer = data::Tokenizer::Load(source);
  if (absl::IsNotFound(tokenizer.status())) return std::nullopt;
  if (!tokenizer.ok()) {
    notes.push_back(fmt::format("its tokenizer is left out: {}", std::string(tokenizer.status().message())));
    return std::nullopt;
  }
  if (tokenizer->vocab_size() != vocab) {
    notes.push_back(
        fmt::format("its tokenizer has {} tokens, the model {}: it is left out", tokenizer->vocab_size(), vocab));
    return std::nullopt;
  }
  return *std::move(tokenizer);
}

std::string TokenizerJson(const data::Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  tokens.reserve(tokenizer.end_of_text());
  for (int id = 0; id < tokenizer.end_of_text(); ++id) tokens.push_back(tokenizer.TokenBytes(id));
  return data::FormatTokenizerJson(tokenizer.merges(), tokens);
}

// Weights in the order of the registry, and the selections they imply.
class Imported {
 public:
  absl::Status Read(const std::vector<ForeignTensor>& foreign, const model::Registry& registry, ImportResult& result) {
    weights_.resize(registry.size());
    kept_.resize(registry.size());
    for (int i = 0; i < registry.size(); ++i) {
      const model::TensorInfo& info = registry[i];
      const auto tensor =
          std::find_if(foreign.begin(), foreign.end(), [&](const ForeignTensor& f) { return f.name == info.name; });
      auto values = tensor->read();
      if (!values.ok()) return values.status();
      weights_[i] = *std::move(values);
      const int64_t nonzeros = std::count_if(weights_[i].begin(), weights_[i].end(), [](float x) { return x != 0; });
      const bool pruned = info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
      if (pruned && nonzeros < info.numel()) SelectNonzeros(i);
      result.tensors += 1;
      result.elements += info.numel();
      result.nonzeros += nonzeros;
    }
    return absl::OkStatus();
  }

  void Describe(const model::Registry& registry, checkpoint::State& state) const {
    for (int i = 0; i < registry.size(); ++i) {
      checkpoint::StateTensor tensor{registry[i].name, registry[i].shape, weights_[i].data()};
      if (!kept_[i].empty()) tensor.kept = kept_[i].data();
      state.tensors.push_back(std::move(tensor));
    }
  }

 private:
  // By bits: a -0.0 is an entry too.
  void SelectNonzeros(int i) {
    const std::vector<float>& w = weights_[i];
    kept_[i].resize((w.size() + 63) / 64);
    for (size_t e = 0; e < w.size(); ++e) {
      if (std::bit_cast<uint32_t>(w[e]) != 0) kept_[i][e / 64] |= uint64_t{1} << (e % 64);
    }
  }

  std::vector<std::vector<float>> weights_;
  std::vector<std::vector<uint64_t>> kept_;
};

}  // namespace

absl::StatusOr<ImportResult> ImportModel(const std::string& source, const std::string& folder) {
  auto format = DetectFormat(source);
  if (!format.ok()) return format.status();
  const std::string config_path = source + "/" + ConfigName(*format), path = source + "/" + WeightsName(*format);
  auto text = checkpoint::ReadFile(checkpoint::RealFileSystem(), config_path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  auto released = ParseReleasedConfig(*text, *format, config_path);
  if (!released.ok()) return released.status();
  auto settings = SettingsOf(*released, source);
  if (!settings.ok()) return settings.status();
  auto spec = model::MakeSpec(settings->model, released->vocab);
  if (!spec.ok()) return spec.status();
  const model::Registry registry(*spec);
  auto foreign = OpenForeignWeights(path, *format);
  if (!foreign.ok()) return foreign.status();
  absl::Status status = CheckForeignTensors(*foreign, registry, *released, path);
  if (!status.ok()) return status;

  ImportResult result{*format, 0, 0, 0, released->notes};
  Imported imported;
  status = imported.Read(*foreign, registry, result);
  if (!status.ok()) return status;
  checkpoint::State state;
  imported.Describe(registry, state);
  state.texts = {{texts::kConfig, config::ToToml(*settings)},
                 {texts::kVocab, std::to_string(released->vocab)},
                 {texts::kRunName, settings->run.name},
                 {texts::kSource, *format == Format::kOpenAi ? "openai" : "hf"}};
  if (const auto tokenizer = FindTokenizer(source, released->vocab, result.notes)) {
    state.texts[texts::kTokenizerJson] = TokenizerJson(*tokenizer);
    state.texts[texts::kTokenizerSha256] = tokenizer->digest();
  }
  status = PrepareFolder(folder);
  if (!status.ok()) return status;
  auto saved = checkpoint::SaveFolder(checkpoint::RealFileSystem(), folder, state);
  if (!saved.ok()) return saved.status();
  return result;
}

}  // namespace filigree::interop
