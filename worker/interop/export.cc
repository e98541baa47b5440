#include "worker/interop/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/load.h"
#include "worker/data/tokenizer.h"
#include "worker/data/tokenizer_files.h"
#include "worker/interop/output_file.h"
#include "worker/interop/torch_file.h"
#include "worker/model/registry.h"

namespace filigree::interop {
namespace {

using checkpoint::Checkpoint;
namespace texts = checkpoint::texts;

struct Described {
  config::Settings settings;
  model::ModelSpec spec;
};

absl::StatusOr<Described> DescribeModel(const Checkpoint& checkpoint) {
  auto toml = checkpoint.Text(texts::kConfig);
  if (!toml.ok()) return toml.status();
  auto settings = config::Parse(*toml, checkpoint.path() + ": config.toml");
  if (!settings.ok()) return settings.status();
  auto vocab_text = checkpoint.Text(texts::kVocab);
  if (!vocab_text.ok()) return vocab_text.status();
  int vocab = 0;
  const char* end = vocab_text->data() + vocab_text->size();
  const auto [stop, code] = std::from_chars(vocab_text->data(), end, vocab);
  if (code != std::errc() || stop != end) {
    return absl::DataLossError(fmt::format("{}: vocab '{}' is not a number", checkpoint.path(), *vocab_text));
  }
  auto spec = model::MakeSpec(settings->model, vocab);
  if (!spec.ok()) return spec.status();
  const model::Registry registry(*spec);
  std::vector<checkpoint::NamedShape> expected;
  for (const model::TensorInfo& info : registry.tensors()) expected.push_back({info.name, info.shape});
  absl::Status status = checkpoint.CheckModel(expected);
  if (!status.ok()) return status;
  return Described{*std::move(settings), *std::move(spec)};
}

absl::Status ReadTensor(const Checkpoint& checkpoint, const ReleasedTensor& tensor, float* values) {
  if (!tensor.ours.empty()) return checkpoint.CopyInto(tensor.ours, tensor.shape, values, nullptr, nullptr, nullptr);
  std::fill_n(values, checkpoint::Elements(tensor.shape), 0.0f);
  return absl::OkStatus();
}

absl::Status WriteTorchWeights(const Checkpoint& checkpoint, const std::vector<ReleasedTensor>& tensors,
                               checkpoint::WritableFile& file) {
  std::vector<checkpoint::NamedShape> shapes;
  shapes.reserve(tensors.size());
  for (const ReleasedTensor& tensor : tensors) shapes.push_back({tensor.name, tensor.shape});
  return WriteTorchFile(file, shapes,
                        [&](size_t i, float* values) { return ReadTensor(checkpoint, tensors[i], values); });
}

absl::Status WriteSafetensorsWeights(const Checkpoint& checkpoint, const std::vector<ReleasedTensor>& tensors,
                                     checkpoint::WritableFile& file) {
  std::vector<checkpoint::TensorSource> sources;
  for (const ReleasedTensor& tensor : tensors) {
    const auto write = [&checkpoint, &tensor](checkpoint::WritableFile& to) -> absl::Status {
      std::vector<float> values(checkpoint::Elements(tensor.shape));
      absl::Status status = ReadTensor(checkpoint, tensor, values.data());
      if (!status.ok()) return status;
      return to.Append(values.data(), values.size() * sizeof(float));
    };
    sources.push_back({tensor.name, checkpoint::DType::kF32, tensor.shape, write});
  }
  // transformers asks for this key.
  return checkpoint::WriteSafetensors(file, std::move(sources), {{"format", "pt"}});
}

std::string GenerationConfig(const Described& model) {
  const config::SampleSettings& sample = model.settings.sample;
  nlohmann::ordered_json config = {{"bos_token_id", model.spec.vocab - 1}, {"eos_token_id", model.spec.vocab - 1}};
  config["do_sample"] = sample.temperature > 0;
  if (sample.temperature > 0) {
    config["temperature"] = sample.temperature;
    config["top_p"] = sample.top_p;
  }
  config["max_new_tokens"] = sample.tokens;
  return config.dump(2) + "\n";
}

std::string TokenizerConfig(const model::ModelSpec& spec) {
  const nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                         {"bos_token", data::kEndOfText},
                                         {"eos_token", data::kEndOfText},
                                         {"unk_token", data::kEndOfText},
                                         {"add_prefix_space", false},
                                         {"clean_up_tokenization_spaces", false},
                                         {"model_max_length", spec.n_ctx}};
  return config.dump(2) + "\n";
}

using TextFiles = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<TextFiles> SmallFiles(const Checkpoint& checkpoint, const Described& model, Format format) {
  TextFiles files = {{ConfigName(format), FormatReleasedConfig(model.spec, format)}};
  if (format == Format::kHuggingFace) files.emplace_back("generation_config.json", GenerationConfig(model));
  const auto json = checkpoint.texts().find(texts::kTokenizerJson);
  if (json == checkpoint.texts().end()) return files;
  files.emplace_back(data::kTokenizerJsonFile, json->second);
  if (format == Format::kHuggingFace) {
    files.emplace_back("tokenizer_config.json", TokenizerConfig(model.spec));
    return files;
  }
  auto tokenizer = data::ParseTokenizerJson(json->second, checkpoint.path() + ": tokenizer.json");
  if (!tokenizer.ok()) return tokenizer.status();
  files.emplace_back(data::kEncoderJsonFile, data::FormatEncoderJson(*tokenizer));
  files.emplace_back(data::kVocabBpeFile, data::FormatVocabBpe(*tokenizer));
  return files;
}

}  // namespace

std::vector<ReleasedTensor> ReleasedTensors(const model::ModelSpec& spec, Format format) {
  const std::string prefix = format == Format::kHuggingFace ? kHuggingFacePrefix : "";
  const model::Registry registry(spec);
  std::vector<ReleasedTensor> tensors;
  for (const model::TensorInfo& info : registry.tensors()) {
    tensors.push_back({prefix + info.name, info.name, info.shape});
    if (info.name == "transformer.wte.weight" && spec.d_pos_emb == 0) {
      tensors.push_back({prefix + "transformer.wpe.weight", "", {spec.n_ctx, spec.d_model}});
    }
  }
  tensors.push_back({prefix + "final_logits_bias", "", {spec.vocab}});
  return tensors;
}

absl::StatusOr<std::vector<std::string>> ExportCheckpoint(const Checkpoint& checkpoint, Format format,
                                                          const std::string& folder) {
  auto model = DescribeModel(checkpoint);
  if (!model.ok()) return model.status();
  auto small = SmallFiles(checkpoint, *model, format);
  if (!small.ok()) return small.status();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), fmt::format("cannot create the folder {}", folder));

  checkpoint::FileSystem& files = checkpoint::RealFileSystem();
  const std::vector<ReleasedTensor> tensors = ReleasedTensors(model->spec, format);
  std::vector<std::string> written = {folder + "/" + WeightsName(format)};
  absl::Status status = WriteWholeFile(files, written[0], [&](checkpoint::WritableFile& file) {
    return format == Format::kOpenAi ? WriteTorchWeights(checkpoint, tensors, file)
                                     : WriteSafetensorsWeights(checkpoint, tensors, file);
  });
  for (const auto& [name, text] : *small) {
    if (!status.ok()) return status;
    written.push_back(fmt::format("{}/{}", folder, name));
    status = WriteWholeFile(files, written.back(), text);
  }
  if (status.ok()) status = files.SyncFolder(folder);
  if (!status.ok()) return status;
  return written;
}

}  // namespace filigree::interop
