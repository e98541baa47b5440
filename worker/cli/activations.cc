#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "kernels/base/thread_pool.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/cli/command.h"
#include "worker/cli/model_tokenizer.h"
#include "worker/cli/print.h"
#include "worker/data/files.h"
#include "worker/machine/processor.h"
#include "worker/train/record_activations.h"
#include "worker/train/stored_state.h"

namespace filigree::cli {
namespace {

struct ActivationsOptions {
  std::string model, data, text, file, out;
  std::vector<std::string> places;
  int threads = 0;
  bool logits = false;
};

absl::StatusOr<std::string> TextOf(const ActivationsOptions& options) {
  if (!options.text.empty()) return options.text;
  return data::ReadInput(options.file, data::kMaxInputBytes);
}

// Names as the model has them: what was asked for, or everything. "attn.q" stands for that place in every layer.
absl::StatusOr<std::vector<std::string>> WantedPlaces(const model::ModelSpec& spec,
                                                      const std::vector<std::string>& asked) {
  const std::vector<std::string> all = train::PlaceNames(spec);
  if (asked.empty()) return all;
  std::vector<std::string> wanted;
  for (const std::string& name : asked) {
    const size_t before = wanted.size();
    for (const std::string& place : all) {
      const std::string suffix = "." + name;
      const bool in_layer =
          place.size() > suffix.size() && std::isdigit(place[0]) && place.substr(place.find('.')) == suffix;
      if (place == name || in_layer) wanted.push_back(place);
    }
    if (wanted.size() == before) {
      return absl::InvalidArgumentError(
          fmt::format("--place {}: the model has no such place; it has {}", name, fmt::join(all, ", ")));
    }
  }
  return wanted;
}

absl::Status WriteActivations(const ActivationsOptions& options, const std::vector<int32_t>& tokens,
                              const std::vector<train::RecordedPlace>& places, const std::vector<float>& logits,
                              const train::LoadedModel& model) {
  const auto positions = static_cast<int64_t>(tokens.size());
  std::vector<checkpoint::TensorData> tensors;
  tensors.reserve(places.size() + 2);
  for (const train::RecordedPlace& place : places) {
    tensors.push_back(
        {"act." + place.name, checkpoint::DType::kF32, {1, positions, place.channels}, place.values.data()});
  }
  tensors.push_back({"tokens", checkpoint::DType::kI32, {1, positions}, tokens.data()});
  if (!logits.empty()) {
    tensors.push_back({"logits", checkpoint::DType::kF32, {1, positions, model.spec.vocab}, logits.data()});
  }
  return checkpoint::WriteSafetensors(options.out, std::move(tensors),
                                      {{"checkpoint", model.path}, {"step", std::to_string(model.step)}});
}

absl::Status RunActivations(const ActivationsOptions& options) {
  kernels::ThreadPool pool(options.threads > 0 ? options.threads : machine::DescribeProcessor().cores);
  std::vector<std::string> warnings;
  const absl::StatusOr<std::unique_ptr<train::LoadedModel>> loaded = train::LoadModel(options.model, pool, &warnings);
  for (const std::string& warning : warnings) Say("warning: {}", warning);
  if (!loaded.ok()) return loaded.status();
  const train::LoadedModel& model = **loaded;
  const absl::StatusOr<data::Tokenizer> tokenizer = TokenizerOf(model, options.data);
  if (!tokenizer.ok()) return tokenizer.status();
  const absl::StatusOr<std::string> text = TextOf(options);
  if (!text.ok()) return text.status();
  const std::vector<uint16_t> ids = tokenizer->Encode(*text);
  const std::vector<int32_t> tokens(ids.begin(), ids.end());
  if (tokens.empty()) return absl::InvalidArgumentError("the text is empty; give at least one character");
  if (tokens.size() > static_cast<size_t>(model.spec.n_ctx)) {
    return absl::InvalidArgumentError(
        fmt::format("the text has {} tokens, the model was trained on {} positions; give "
                    "a shorter text",
                    tokens.size(), model.spec.n_ctx));
  }
  const absl::StatusOr<std::vector<std::string>> places = WantedPlaces(model.spec, options.places);
  if (!places.ok()) return places.status();

  const int positions = static_cast<int>(tokens.size());
  train::ActivationRecorder recorder(model.spec, *places, 1, positions);
  std::vector<float> logits(static_cast<size_t>(positions) * model.spec.vocab);
  model.network->Logits({tokens.data(), 1, positions}, logits.data(), &recorder);
  if (!options.logits) logits.clear();
  absl::Status status = WriteActivations(options, tokens, recorder.places(), logits, model);
  if (status.ok()) Print("{}: {} places of {} tokens\n", options.out, recorder.places().size(), positions);
  return status;
}

}  // namespace

void AddActivationsCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("activations", "Activations of a text as safetensors");
  auto options = std::make_shared<ActivationsOptions>();
  command->add_option("model", options->model, "Run folder, checkpoint or import")->required();
  command->add_option("--out", options->out, "File to write")->required();
  CLI::Option* text = command->add_option("--text", options->text, "The text; default: --file, else standard input");
  command->add_option("--file", options->file, "File with the text")->excludes(text);
  command->add_option("--place", options->places,
                      "Place to record, e.g. 0.attn.q, mlp.post_act (in every layer) or final_resid; again for more; "
                      "default: all");
  command->add_flag("--logits", options->logits, "Write the logits too");
  command->add_option("--data", options->data, "Folder of the tokenizer; default: the checkpoint's own");
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024));
  command->callback([options, &exit_code] { exit_code = Finish(RunActivations(*options)); });
}

}  // namespace filigree::cli
