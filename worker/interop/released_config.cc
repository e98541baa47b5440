#include "worker/interop/released_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace filigree::interop {
namespace {

using nlohmann::json;

// Keys of published files that say nothing about what the model computes.
const std::set<std::string>& IgnoredKeys(Format format) {
  // Of the released loader: how it runs, and names of training settings and older versions.
  static const std::set<std::string> released = {"debug_nans",
                                                 "tokenizer_name",
                                                 "grad_checkpointing",
                                                 "flash",
                                                 "enable_sparse_kernels",
                                                 "ln_bias",
                                                 "bigram_table_rank",
                                                 "pfrac",
                                                 "rtopk",
                                                 "expansion_factor",
                                                 "expansion_factor_mlp",
                                                 "debug_exact_topk",
                                                 "sparse_matmul_impl",
                                                 "n_embd",
                                                 "afrac_approx",
                                                 "ignore_dw_grad",
                                                 "learnable_bigram_table"};
  // Of transformers.
  static const std::set<std::string> hugging_face = [] {
    std::set<std::string> keys = released;
    keys.insert({"architectures", "auto_map", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache",
                 "bos_token_id", "eos_token_id", "pad_token_id", "_name_or_path", "tie_word_embeddings", "is_decoder",
                 "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"});
    return keys;
  }();
  return format == Format::kOpenAi ? released : hugging_face;
}

bool Falsy(const json& value) { return value.is_null() || value == false; }

// Takes keys out of the object, noting the first error.
class Options {
 public:
  Options(json object, std::string path) : object_(std::move(object)), path_(std::move(path)) {}

  int64_t Integer(const char* key, int64_t otherwise) {
    const json value = Take(key);
    if (value.is_null()) return otherwise;
    const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= INT32_MAX;
    if (!fits) Wrong(key, "a whole number that is not negative");
    return fits ? value.get<int64_t>() : 0;
  }
  double Real(const char* key, double otherwise) {
    const json value = Take(key);
    if (value.is_null()) return otherwise;
    if (!value.is_number()) Wrong(key, "a number");
    return value.is_number() ? value.get<double>() : 0;
  }
  bool Bool(const char* key, bool otherwise) {
    const json value = Take(key);
    if (value.is_null()) return otherwise;
    if (!value.is_boolean()) Wrong(key, "true or false");
    return value.is_boolean() && value.get<bool>();
  }
  std::string Text(const char* key, const std::string& otherwise) {
    const json value = Take(key);
    if (value.is_null()) return otherwise;
    if (!value.is_string()) Wrong(key, "text");
    return value.is_string() ? value.get<std::string>() : "";
  }

  // An option this program has in one state only.
  void Require(bool holds, const std::string& has, const char* needed) {
    if (holds || !error_.ok()) return;
    error_ = absl::FailedPreconditionError(
        fmt::format("{}: the model has {}, which this program does not have; it needs {}", path_, has, needed));
  }
  void Rename(const char* from, const char* to) {
    if (object_.contains(from) && !object_.contains(to)) object_[to] = Take(from);
  }
  void Drop(const std::set<std::string>& keys) {
    for (const std::string& key : keys) object_.erase(key);
  }

  const json& rest() const { return object_; }
  const absl::Status& error() const { return error_; }

 private:
  json Take(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end()) return nullptr;
    json value = *found;
    object_.erase(found);
    return value;
  }
  void Wrong(const char* key, const char* expected) {
    if (error_.ok()) error_ = absl::DataLossError(fmt::format("{}: '{}' is not {}", path_, key, expected));
  }

  json object_;
  std::string path_;
  absl::Status error_;
};

// "attn_in,mlp_in" -> places in the order of the forward pass.
std::vector<std::string> SplitPlaces(const std::string& text, Options& options) {
  std::set<std::string> wanted;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string place = text.substr(at, comma - at);
    const bool known = model::PlaceOfTopKName(place) != model::kPlaces;
    options.Require(known || place.empty(), fmt::format("AbsTopK at '{}' (afrac_loctypes)", place),
                    "places among the eight of attention and MLP");
    if (known) wanted.insert(place);
    at = comma + 1;
  }
  std::vector<std::string> places;
  for (const char* place : model::kTopKPlaceNames) {
    if (place != nullptr && wanted.contains(place)) places.emplace_back(place);
  }
  return places;
}

// Options that change what the model computes and that exist here in one state only.
void CheckFixedOptions(Options& options) {
  options.Require(options.Bool("rms_norm", false), "LayerNorm (rms_norm false)", "rms_norm true");
  options.Require(!options.Bool("tied_unembed", true), "a tied unembedding (tied_unembed true)", "tied_unembed false");
  options.Require(options.Bool("bias", true), "no biases (bias false)", "bias true");
  options.Require(options.Real("dropout", 0) == 0, "dropout", "dropout 0");
  options.Require(options.Text("residual_activation_type", "identity") == "identity",
                  "an activation on the residual (residual_activation_type)", "\"identity\"");
  options.Require(!options.Bool("use_tied_aux_matrix", false), "use_tied_aux_matrix", "none");
}

void ReadModel(Options& options, ReleasedConfig& config) {
  config::ModelSettings& model = config.model;
  model.n_ctx = options.Integer("block_size", 1024);
  config.vocab = static_cast<int>(options.Integer("vocab_size", 50304));
  model.n_layer = options.Integer("n_layer", 12);
  model.d_model = options.Integer("d_model", 768);
  const int64_t heads = options.Integer("n_head", 12);
  model.d_head = options.Integer("d_head", heads > 0 ? model.d_model / heads : 0);
  options.Require(heads > 0 && heads <= model.d_model && model.d_head * heads == model.d_model,
                  fmt::format("n_head {} * d_head {}, which is not d_model {}", heads, model.d_head, model.d_model),
                  "heads that make up the width");
  model.d_mlp = options.Integer("d_mlp", 4 * model.d_model);
  const std::string activation = options.Text("activation_type", "gelu");
  options.Require(activation == "gelu" || activation == "relu", fmt::format("activation '{}'", activation),
                  "gelu or relu");
  model.activation = activation == "relu" ? config::Activation::kRelu : config::Activation::kGelu;
  model.afrac = options.Real("afrac", 1);
  model.topk_places = SplitPlaces(options.Text("afrac_loctypes", "attn_in,attn_out,mlp_in,mlp_out"), options);
  model.bigram = options.Bool("enable_bigram_table", false);
  model.sink = options.Bool("sink", false);
  model.d_pos_emb = options.Integer("d_pos_emb", 0);
  config.adds_positions = model.d_pos_emb == 0;
  options.Bool("dropout_cat_pos_emb", false);  // dropout is 0
  if (options.Bool("sinusoidal_cat_pos_emb", false)) {
    config.notes.emplace_back("its positions were fixed sinusoids; a run that starts from it trains them");
  }
}

}  // namespace

const char* ConfigName(Format format) { return format == Format::kOpenAi ? "beeg_config.json" : "config.json"; }
const char* WeightsName(Format format) { return format == Format::kOpenAi ? "final_model.pt" : "model.safetensors"; }

std::string FormatReleasedConfig(const model::ModelSpec& spec, Format format) {
  std::vector<std::string> places;
  for (int place = 0; place < model::kPlaces; ++place) {
    if (spec.topk[place]) places.emplace_back(model::kTopKPlaceNames[place]);
  }
  const bool topk = spec.afrac < 1 && !places.empty();
  nlohmann::ordered_json config = {{"block_size", spec.n_ctx},
                                   {"vocab_size", spec.vocab},
                                   {"n_layer", spec.n_layer},
                                   {"n_head", spec.n_head},
                                   {"d_head", spec.d_head},
                                   {"d_model", spec.d_model},
                                   {"dropout", 0.0},
                                   {"bias", true},
                                   {"ln_bias", true},
                                   {"rms_norm", true},
                                   {"residual_activation_type", "identity"},
                                   {"activation_type", spec.activation == config::Activation::kRelu ? "relu" : "gelu"},
                                   {"afrac", nullptr},
                                   {"afrac_loctypes", fmt::format("{}", fmt::join(places, ","))},
                                   {"debug_nans", false},
                                   {"tied_unembed", false},
                                   {"tokenizer_name", "filigree"},
                                   {"grad_checkpointing", false},
                                   {"d_mlp", spec.d_mlp},
                                   {"enable_bigram_table", spec.bigram},
                                   {"learnable_bigram_table", spec.bigram},
                                   {"d_pos_emb", nullptr},
                                   {"dropout_cat_pos_emb", false},
                                   {"sinusoidal_cat_pos_emb", false},
                                   {"enable_sparse_kernels", false},
                                   {"flash", true},
                                   {"sink", spec.sink}};
  if (topk) config["afrac"] = spec.afrac;
  if (spec.d_pos_emb > 0) config["d_pos_emb"] = spec.d_pos_emb;
  if (format == Format::kHuggingFace) {
    config["model_type"] = "circuitgpt";
    config["architectures"] = {"CircuitGPTForCausalLM"};
    config["torch_dtype"] = "float32";
    config["tie_word_embeddings"] = false;
    config["bos_token_id"] = spec.vocab - 1;
    config["eos_token_id"] = spec.vocab - 1;
  }
  return config.dump(2) + "\n";
}

absl::StatusOr<ReleasedConfig> ParseReleasedConfig(const std::string& text, Format format, const std::string& path) {
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object())
    return absl::DataLossError(fmt::format("{} is not a JSON object", path));
  Options options(std::move(root), path);
  options.Rename("n_mlp", "d_mlp");
  ReleasedConfig config;
  CheckFixedOptions(options);
  ReadModel(options, config);
  options.Drop(IgnoredKeys(format));
  if (!options.error().ok()) return options.error();
  for (const auto& [key, value] : options.rest().items()) {
    // Unknown and off, or in a file that is open to anybody's keys: worth a word. Unknown and on: who knows.
    if (!Falsy(value) && format == Format::kOpenAi) {
      return absl::FailedPreconditionError(
          fmt::format("{}: the model has '{}', an option this program does not know", path, key));
    }
    config.notes.push_back(fmt::format("{}: '{}' is ignored", path, key));
  }
  return config;
}

}  // namespace filigree::interop
