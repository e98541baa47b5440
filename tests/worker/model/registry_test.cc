#include "worker/model/registry.h"

#include <map>
#include <set>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"

namespace filigree::model {
namespace {

using Shape = std::vector<int64_t>;

TEST(Registry, HasTheNamesAndShapesOfTheReleasedModels) {
  ModelSpec spec = testing_support::SmallSpec();  // D 22, H 3, K 5, F 37, T 70, V 29, P 6
  spec.n_layer = 1;
  const Registry registry(spec);
  const std::map<std::string, Shape> expected = {
      {"transformer.wte.weight", {29, 22}},
      {"transformer.wpe.weight", {70, 6}},
      {"transformer.h.0.ln_1.weight", {22}},
      {"transformer.h.0.ln_2.weight", {22}},
      {"transformer.h.0.ln_p1.weight", {6}},
      {"transformer.h.0.ln_p2.weight", {6}},
      {"transformer.h.0.attn.c_attn.weight", {45, 28}},
      {"transformer.h.0.attn.c_attn.bias", {45}},
      {"transformer.h.0.attn.c_proj.weight", {22, 15}},
      {"transformer.h.0.attn.c_proj.bias", {22}},
      {"transformer.h.0.attn.attn_imp.sink_logit", {3}},
      {"transformer.h.0.mlp.c_fc.weight", {37, 28}},
      {"transformer.h.0.mlp.c_fc.bias", {37}},
      {"transformer.h.0.mlp.c_proj.weight", {22, 37}},
      {"transformer.h.0.mlp.c_proj.bias", {22}},
      {"transformer.ln_f.weight", {22}},
      {"lm_head.weight", {29, 22}},
      {"bigram_table", {29, 29}},
  };
  std::map<std::string, Shape> found;
  for (const TensorInfo& info : registry.tensors()) found[info.name] = info.shape;
  EXPECT_EQ(found, expected);
  EXPECT_EQ(registry.size(), static_cast<int>(expected.size()));
}

TEST(Registry, LeavesOutWhatASpecDoesNotHave) {
  ModelSpec spec = testing_support::SmallSpec();
  spec.d_pos_emb = 0;
  spec.sink = spec.bigram = false;
  const Registry registry(spec);
  for (const TensorInfo& info : registry.tensors()) {
    EXPECT_EQ(info.name.find("wpe"), std::string::npos);
    EXPECT_EQ(info.name.find("ln_p"), std::string::npos);
    EXPECT_EQ(info.name.find("sink"), std::string::npos);
    EXPECT_EQ(info.name.find("bigram"), std::string::npos);
  }
  EXPECT_EQ(registry.wpe(), -1);
  EXPECT_EQ(registry.bigram(), -1);
  EXPECT_EQ(registry.layer(0).sink, -1);
  EXPECT_EQ(registry[registry.layer(1).c_attn].shape, (Shape{45, 22}));
}

// The published 475M-class model: "419.1 M" without the buffer final_logits_bias.
TEST(Registry, CountsTheParametersOfTheReleasedModel) {
  ModelSpec spec;
  spec.d_model = 2048;
  spec.d_mlp = 8192;
  spec.n_layer = 8;
  spec.n_head = 128;
  spec.d_head = 16;
  spec.d_pos_emb = 32;
  spec.vocab = 2048;
  spec.n_ctx = 1024;
  spec.sink = true;
  spec.bigram = true;
  EXPECT_EQ(Registry(spec).trained_elements(), 419122688);
}

TEST(Registry, ShapesAndNumbersOfElementsAgree) {
  const Registry registry(testing_support::SmallSpec());
  int64_t elements = 0;
  for (const TensorInfo& info : registry.tensors()) {
    EXPECT_EQ(&registry[info.index], &info);
    EXPECT_EQ(registry.numels()[info.index], info.numel());
    elements += info.numel();
    int64_t product = 1;
    for (const int64_t dim : info.shape) product *= dim;
    EXPECT_EQ(info.numel(), product) << info.name;
    EXPECT_EQ(info.cols, info.shape.back()) << info.name;
  }
  EXPECT_EQ(registry.trained_elements(), elements);
}

TEST(Registry, SaysWhatIsSparsifiedAndWhatDecays) {
  const Registry registry(testing_support::SmallSpec());
  for (const TensorInfo& info : registry.tensors()) {
    SCOPED_TRACE(info.name);
    const bool embedding = info.name == "lm_head.weight" || info.name == "transformer.wte.weight";
    const bool block = info.kind == "attn.c_attn.weight" || info.kind == "attn.c_proj.weight" ||
                       info.kind == "mlp.c_fc.weight" || info.kind == "mlp.c_proj.weight";
    const bool bias = info.name.ends_with(".bias");
    EXPECT_EQ(info.density == Density::kEmbedding, embedding);
    EXPECT_EQ(info.density == Density::kWeight, block);
    EXPECT_EQ(info.density == Density::kBias, bias);
    EXPECT_EQ(info.decays, info.shape.size() == 2 && info.name != "bigram_table");
    const bool row = info.kind == "attn.c_attn.weight" || info.kind == "mlp.c_fc.weight";
    EXPECT_EQ(info.unit, row ? kernels::Unit::kRow : block ? kernels::Unit::kColumn : kernels::Unit::kNone);
    EXPECT_EQ(info.layer >= 0, info.name.starts_with("transformer.h."));
  }
}

TEST(Registry, FindsByNameAndByLayer) {
  const Registry registry(testing_support::SmallSpec());
  EXPECT_EQ(registry.Find("transformer.h.7.ln_1.weight"), -1);
  for (int i = 0; i < registry.size(); ++i) EXPECT_EQ(registry.Find(registry[i].name), i);
  for (int l = 0; l < 2; ++l) {
    const LayerTensors& t = registry.layer(l);
    const std::map<std::string, int> expected = {{"ln_1.weight", t.ln_1},
                                                 {"ln_2.weight", t.ln_2},
                                                 {"ln_p1.weight", t.ln_p1},
                                                 {"ln_p2.weight", t.ln_p2},
                                                 {"attn.c_attn.weight", t.c_attn},
                                                 {"attn.c_attn.bias", t.c_attn_bias},
                                                 {"attn.attn_imp.sink_logit", t.sink},
                                                 {"attn.c_proj.weight", t.attn_c_proj},
                                                 {"attn.c_proj.bias", t.attn_c_proj_bias},
                                                 {"mlp.c_fc.weight", t.c_fc},
                                                 {"mlp.c_fc.bias", t.c_fc_bias},
                                                 {"mlp.c_proj.weight", t.mlp_c_proj},
                                                 {"mlp.c_proj.bias", t.mlp_c_proj_bias}};
    for (const auto& [kind, index] : expected) {
      ASSERT_GE(index, 0) << kind;
      EXPECT_EQ(registry[index].name, "transformer.h." + std::to_string(l) + "." + kind);
      EXPECT_EQ(registry[index].kind, kind);
      EXPECT_EQ(registry[index].layer, l);
    }
  }
}

}  // namespace
}  // namespace filigree::model
