#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "tests/parity/golden_case.h"
#include "tests/parity/json_reader.h"
#include "worker/checkpoint/file_system.h"

namespace filigree::parity {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = 256 << 20;
constexpr int64_t kMaxSize = 1 << 20;  // of any dimension

// The places of the comma list; all eight where there is none.
absl::Status ReadPlaces(const std::string& list, const std::string& where, model::ModelSpec& spec) {
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    std::string name = list.substr(begin, end - begin);
    std::erase(name, ' ');
    begin = end + 1;
    if (name.empty()) continue;
    const int place = model::PlaceOfTopKName(name);
    if (place == model::kPlaces) {
      return absl::InvalidArgumentError(fmt::format(
          "{}: '{}' in loctypes is none of the eight places attn_in, attn_q, attn_k, attn_v, attn_out, mlp_in, "
          "mlp_neuron, mlp_out",
          where, name));
    }
    spec.topk[place] = true;
  }
  return absl::OkStatus();
}

absl::Status ReadModel(JsonReader& config, const std::string& where, model::ModelSpec& spec) {
  spec.n_layer = static_cast<int>(config.Integer("n_layer", 1, kMaxSize));
  spec.n_head = static_cast<int>(config.Integer("n_head", 1, kMaxSize));
  spec.d_model = static_cast<int>(config.Integer("d_model", 1, kMaxSize));
  spec.d_head = static_cast<int>(config.Integer("d_head", 1, kMaxSize, spec.d_model / spec.n_head));
  spec.d_mlp = static_cast<int>(config.Integer("d_mlp", 1, kMaxSize, 4 * int64_t{spec.d_model}));
  spec.d_pos_emb = static_cast<int>(config.Integer("d_pos_emb", 0, kMaxSize, 0));
  spec.afrac = config.Number("afrac", 1);
  spec.sink = config.Boolean("sink", false);
  spec.bigram = config.Boolean("bigram", false);
  const std::string act = config.Text("act", "gelu");
  if (act != "gelu" && act != "relu") {
    return absl::InvalidArgumentError(fmt::format("{}: act '{}', gelu or relu was expected", where, act));
  }
  spec.activation = act == "relu" ? config::Activation::kRelu : config::Activation::kGelu;
  const std::string all = "attn_in,attn_q,attn_k,attn_v,attn_out,mlp_in,mlp_neuron,mlp_out";
  absl::Status places = ReadPlaces(config.Text("loctypes", all), where, spec);
  if (!places.ok() || !config.status().ok()) return places;
  for (int place = 0; place < model::kPlaces; ++place) {
    if (spec.kept(static_cast<model::Place>(place)) < 1) {
      return absl::InvalidArgumentError(
          fmt::format("{}: afrac {} keeps nothing at {}, at least one channel was expected", where, spec.afrac,
                      model::kPlaceNames[place]));
    }
  }
  return absl::OkStatus();
}

TrainingPlan ReadPlan(JsonReader& config) {
  TrainingPlan plan;
  plan.steps = config.Integer("steps", 1, 1 << 24);
  plan.lr = config.Number("lr");
  plan.weight_decay = config.Number("wd", 0.1);
  plan.eps = config.Number("eps", 0.1);
  plan.pfrac = config.Number("pfrac");
  plan.ef = config.Number("ef");
  plan.start = config.Number("start", 0.01);
  plan.stop = config.Number("stop", 0.5);
  plan.warmup = config.Number("warmup", 0.01);
  plan.min_alive = config.Integer("j", 0, kMaxSize, 4);
  return plan;
}

absl::Status ReadSteps(const json& steps, const std::string& where, GoldenCase& golden) {
  if (!steps.is_array() || static_cast<int64_t>(steps.size()) != golden.training->steps) {
    return absl::InvalidArgumentError(
        fmt::format("{}: steps: an array of config.steps = {} records was expected", where, golden.training->steps));
  }
  for (const json& step : steps) {
    const std::string at = fmt::format("{}: steps[{}]", where, golden.steps.size());
    JsonReader reader(step, at);
    const auto index = static_cast<int64_t>(golden.steps.size());
    reader.Integer("step", index, index);
    StepRecord record;
    record.lr = reader.Number("lr");
    record.pfrac = reader.Number("pfrac");
    record.loss = reader.Number("loss");
    record.grad_rms = reader.Number("grad_rms");
    if (!reader.status().ok()) return reader.status();
    const json nnz = step.value("nnz", json());
    JsonReader counts(nnz, at + ".nnz");
    if (nnz.is_object()) {
      for (const auto& [matrix, count] : nnz.items()) {
        record.nonzeros[matrix] = counts.Integer(matrix, 0, int64_t{1} << 40);
      }
    }
    if (!counts.status().ok()) return counts.status();
    golden.steps.push_back(std::move(record));
  }
  return absl::OkStatus();
}

absl::Status ReadDistances(const json& root, const std::string& where, GoldenCase& golden) {
  const json distances = root.value("fp32_distance_from_f64", json());
  JsonReader reader(distances, where + ": fp32_distance_from_f64");
  if (!reader.status().ok()) return reader.status();
  for (const auto& [tensor, distance] : distances.items()) golden.fp32_distance[tensor] = reader.Number(tensor);
  return reader.status();
}

absl::Status ReadConfig(const json& root, const std::string& where, GoldenCase& golden) {
  JsonReader top(root, where);
  if (!top.status().ok()) return top.status();
  golden.spec.vocab = static_cast<int>(top.Integer("vocab", 2, 65535));
  const json section = root.value("config", json());
  JsonReader config(section, where + ": config");
  golden.batch = static_cast<int>(config.Integer("batch", 1, kMaxSize));
  golden.positions = static_cast<int>(config.Integer("t", 2, kMaxSize));
  absl::Status model = ReadModel(config, where + ": config", golden.spec);
  if (root.contains("steps") || config.Has("steps")) golden.training = ReadPlan(config);
  for (const absl::Status& status : {top.status(), config.status(), model}) {
    if (!status.ok()) return status;
  }
  golden.unknown_keys = config.Unread();
  if (golden.training.has_value()) {
    const TrainingPlan& plan = *golden.training;
    if (!(plan.pfrac > 0 && plan.ef > 0)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: config: pfrac {} and ef {}, both were expected above 0", where, plan.pfrac, plan.ef));
    }
    absl::Status steps = ReadSteps(root.value("steps", json()), where, golden);
    if (!steps.ok()) return steps;
  }
  return ReadDistances(root, where, golden);
}

absl::Status ReadTokens(const std::string& where, GoldenCase& golden) {
  checkpoint::Shape shape = {golden.batch, golden.positions};
  if (golden.training.has_value()) shape.insert(shape.begin(), golden.training->steps);
  const checkpoint::TensorView* tokens = golden.tensors.Find("tokens");
  if (tokens == nullptr) return absl::NotFoundError(fmt::format("{}: tensor 'tokens' is missing", where));
  if (tokens->shape != shape) {
    return absl::InvalidArgumentError(fmt::format("{}: tokens is {}, {} was expected from the configuration", where,
                                                  checkpoint::ShapeText(tokens->shape), checkpoint::ShapeText(shape)));
  }
  absl::StatusOr<std::vector<int64_t>> ids = checkpoint::ToInts(*tokens);
  if (!ids.ok()) return ids.status();
  for (const int64_t id : *ids) {
    if (id < 0 || id >= golden.spec.vocab) {
      return absl::InvalidArgumentError(
          fmt::format("{}: token {} in a vocabulary of {}", where, id, golden.spec.vocab));
    }
    golden.tokens.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

}  // namespace

double TrainingPlan::weight_density() const { return std::min(1.0, pfrac / (ef * ef)); }

double TrainingPlan::embedding_density() const { return std::min(1.0, pfrac / ef); }

absl::StatusOr<std::vector<std::string>> FindCases(const std::string& folder) {
  std::error_code error;
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".json" || path.extension() == ".safetensors") names.insert(path.stem().string());
  }
  if (error) return absl::NotFoundError(fmt::format("cannot read the folder {}: {}", folder, error.message()));
  if (names.empty()) {
    return absl::NotFoundError(
        fmt::format("no case in {}: pairs of NAME.json and NAME.safetensors were expected", folder));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

absl::StatusOr<GoldenCase> ReadCase(const std::string& folder, const std::string& name) {
  const std::string base = (std::filesystem::path(folder) / name).string();
  absl::StatusOr<std::string> text = checkpoint::ReadFile(checkpoint::RealFileSystem(), base + ".json", kMaxJsonBytes);
  if (!text.ok()) return text.status();
  const json root = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError(fmt::format("{}.json is not JSON", base));
  absl::StatusOr<checkpoint::SafetensorsFile> tensors = checkpoint::SafetensorsFile::Open(base + ".safetensors");
  if (!tensors.ok()) return tensors.status();

  GoldenCase golden;
  golden.name = name;
  golden.tensors = *std::move(tensors);
  absl::Status status = ReadConfig(root, name + ".json", golden);
  if (status.ok()) status = ReadTokens(name + ".safetensors", golden);
  if (!status.ok()) return status;
  golden.spec.n_ctx = golden.positions;
  // The table of positions may be longer than the sequences of the case.
  const checkpoint::TensorView* wpe = golden.tensors.Find("in.transformer.wpe.weight");
  if (golden.spec.d_pos_emb > 0 && wpe != nullptr && wpe->shape.size() == 2) {
    golden.spec.n_ctx = static_cast<int>(std::max<int64_t>(golden.positions, wpe->shape[0]));
  }
  return golden;
}

}  // namespace filigree::parity
