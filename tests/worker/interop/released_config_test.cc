#include "worker/interop/released_config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/worker/interop/small_model.h"

// beeg_config.json: only keys the released GPTConfig knows go out; what comes in is understood or refused by name.

namespace filigree::interop {
namespace {

using nlohmann::json;

// The fields of the released GPTConfig: any other key is a TypeError there.
const std::set<std::string> kAllowed = {"block_size",
                                        "vocab_size",
                                        "n_layer",
                                        "n_head",
                                        "d_head",
                                        "d_model",
                                        "dropout",
                                        "bias",
                                        "ln_bias",
                                        "rms_norm",
                                        "residual_activation_type",
                                        "activation_type",
                                        "afrac",
                                        "afrac_loctypes",
                                        "debug_nans",
                                        "tied_unembed",
                                        "tokenizer_name",
                                        "grad_checkpointing",
                                        "d_mlp",
                                        "enable_bigram_table",
                                        "learnable_bigram_table",
                                        "d_pos_emb",
                                        "dropout_cat_pos_emb",
                                        "sinusoidal_cat_pos_emb",
                                        "enable_sparse_kernels",
                                        "flash",
                                        "sink"};

json Sound() {
  return {
      {"block_size", 64}, {"vocab_size", 100}, {"n_layer", 3},          {"n_head", 4},   {"d_head", 8},
      {"d_model", 32},    {"rms_norm", true},  {"tied_unembed", false}, {"afrac", 0.25}, {"enable_bigram_table", true}};
}

absl::StatusOr<ReleasedConfig> Parse(const json& config, Format format = Format::kOpenAi) {
  return ParseReleasedConfig(config.dump(), format, "beeg_config.json");
}

TEST(ReleasedConfigTest, WritesOnlyAllowedKeysAndAllThatMatter) {
  config::ModelSettings settings = SmallSettings();
  settings.sink = true;
  settings.topk_places = {"attn_in", "mlp_neuron"};
  const json config = json::parse(FormatReleasedConfig(*model::MakeSpec(settings, 33), Format::kOpenAi));
  std::set<std::string> keys;
  for (const auto& [key, value] : config.items()) keys.insert(key);
  EXPECT_EQ(keys, kAllowed);
  EXPECT_EQ(config["rms_norm"], true);
  EXPECT_EQ(config["tied_unembed"], false);
  EXPECT_EQ(config["n_head"], 4);
  EXPECT_EQ(config["d_head"], 4);
  EXPECT_EQ(config["d_mlp"], 24);
  EXPECT_EQ(config["vocab_size"], 33);
  EXPECT_EQ(config["block_size"], 12);
  EXPECT_EQ(config["afrac"], 0.5);
  EXPECT_EQ(config["afrac_loctypes"], "attn_in,mlp_neuron");
  EXPECT_EQ(config["sink"], true);
  EXPECT_EQ(config["flash"], true) << "the released code asserts it for sinks";
  EXPECT_EQ(config["d_pos_emb"], nullptr);
}

TEST(ReleasedConfigTest, ComesBack) {
  for (const Format format : {Format::kOpenAi, Format::kHuggingFace}) {
    for (int variant = 0; variant < 4; ++variant) {
      config::ModelSettings settings = SmallSettings();
      settings.sink = variant == 1;
      settings.bigram = variant != 2;
      settings.d_pos_emb = variant == 3 ? 5 : 0;
      settings.afrac = variant == 2 ? 1 : 0.5;
      settings.activation = variant == 1 ? config::Activation::kRelu : config::Activation::kGelu;
      if (variant == 3) settings.topk_places = {"attn_v", "mlp_in"};
      auto back =
          ParseReleasedConfig(FormatReleasedConfig(*model::MakeSpec(settings, 33), format), format, "config.json");
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_TRUE(back->notes.empty());
      EXPECT_EQ(back->vocab, 33);
      config::Settings before, after;
      before.model = settings;
      after.model = back->model;
      EXPECT_EQ(config::ToToml(before), config::ToToml(after));
      EXPECT_EQ(back->adds_positions, variant != 3);
    }
  }
}

TEST(ReleasedConfigTest, DefaultsOfTheReleasedLoader) {
  json config = {{"rms_norm", true}, {"tied_unembed", false}};
  auto parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->vocab, 50304);
  EXPECT_EQ(parsed->model.n_ctx, 1024);
  EXPECT_EQ(parsed->model.d_model, 768);
  EXPECT_EQ(parsed->model.d_head, 64);
  EXPECT_EQ(parsed->model.d_mlp, 3072);
  EXPECT_EQ(parsed->model.afrac, 1);
  EXPECT_FALSE(parsed->model.bigram);
  EXPECT_FALSE(parsed->model.sink);
  config["afrac"] = 0.125;
  EXPECT_EQ(Parse(config)->model.topk_places, (std::vector<std::string>{"attn_in", "attn_out", "mlp_in", "mlp_out"}));
  config["n_mlp"] = 99;  // an older name
  EXPECT_EQ(Parse(config)->model.d_mlp, 99);
}

TEST(ReleasedConfigTest, ExtraKeysOfPublishedFilesAreTolerated) {
  json config = Sound();
  for (const char* key : {"bigram_table_rank", "pfrac", "expansion_factor", "expansion_factor_mlp", "debug_exact_topk",
                          "sparse_matmul_impl", "n_embd", "afrac_approx", "ignore_dw_grad", "rtopk"}) {
    config[key] = 3;
  }
  config["use_tied_aux_matrix"] = false;
  config["enable_sparse_kernels"] = true;
  config["dropout_cat_pos_emb"] = true;
  auto parsed = Parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->notes.empty());
  config["some_new_switch"] = false;
  EXPECT_EQ(Parse(config)->notes.size(), 1u);
  config["sinusoidal_cat_pos_emb"] = true;
  EXPECT_EQ(Parse(config)->notes.size(), 2u);
}

TEST(ReleasedConfigTest, UnsupportedOptionsAreRefusedByName) {
  const std::tuple<const char*, json, const char*> cases[] = {
      {"rms_norm", false, "rms_norm"},
      {"tied_unembed", true, "tied_unembed"},
      {"bias", false, "bias false"},
      {"dropout", 0.1, "dropout"},
      {"residual_activation_type", "relu", "residual_activation_type"},
      {"activation_type", "swish", "swish"},
      {"use_tied_aux_matrix", true, "use_tied_aux_matrix"},
      {"afrac_loctypes", "attn_in,resid_post_mlp", "resid_post_mlp"},
      {"n_head", 5, "n_head 5"},
      {"d_head", 16, "d_head 16"},
      {"mixture_of_experts", 8, "mixture_of_experts"},
  };
  ASSERT_TRUE(Parse(Sound()).ok());
  for (const auto& [key, value, named] : cases) {
    json config = Sound();
    config[key] = value;
    const absl::Status status = Parse(config).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << key << ": " << status;
    EXPECT_NE(status.message().find(named), absl::string_view::npos) << status;
  }
  for (const char* key : {"rms_norm", "tied_unembed"}) {  // the released defaults are the other way
    json config = Sound();
    config.erase(key);
    EXPECT_TRUE(absl::IsFailedPrecondition(Parse(config).status())) << key;
  }
}

TEST(ReleasedConfigTest, WrongTypesAndNoJsonAreDataLoss) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, json>>{{"n_layer", "3"},
                                                                            {"n_layer", -1},
                                                                            {"n_layer", 1.5},
                                                                            {"n_layer", 1e18},
                                                                            {"afrac", "a"},
                                                                            {"sink", 1},
                                                                            {"activation_type", 1},
                                                                            {"afrac_loctypes", {1, 2}}}) {
    json config = Sound();
    config[key] = value;
    const absl::Status status = Parse(config).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << key << ": " << status;
    EXPECT_NE(status.message().find(key), absl::string_view::npos) << status;
  }
  for (const std::string text : {"", "[]", "{", "7", "{\"a\":"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseReleasedConfig(text, Format::kOpenAi, "x").status())) << text;
  }
  EXPECT_FALSE(ParseReleasedConfig(std::string(100000, '['), Format::kOpenAi, "x").ok());
}

TEST(ReleasedConfigTest, HuggingFaceKeysAreKnownOrNoted) {
  json config = Sound();
  config["architectures"] = {"CircuitGPTForCausalLM"};
  config["auto_map"] = {{"AutoModelForCausalLM", "gpt.GPT"}};
  EXPECT_TRUE(Parse(config, Format::kHuggingFace)->notes.empty());
  EXPECT_FALSE(Parse(config, Format::kOpenAi).ok());
  config["somebodys_key"] = "x";
  EXPECT_EQ(Parse(config, Format::kHuggingFace)->notes.size(), 1u);
}

}  // namespace
}  // namespace filigree::interop
