// Golden cases of other configurations than those in tests/golden, computed by the plain model in double and by a plain
// trainer: the program must read them and agree. Gradients are central differences, so the models are tiny.

#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/parity/plain_case.h"

namespace filigree::parity {
namespace {

using model::Place;

// AbsTopK at the places of `list`.
void SetTopK(model::ModelSpec& spec, double afrac, const std::vector<Place>& places) {
  spec.afrac = afrac;
  for (const Place place : places) spec.topk[static_cast<int>(place)] = true;
}

void CheckForward(const model::ModelSpec& spec, int batch, int positions, const std::string& loctypes) {
  CaseWriter c(spec, batch, positions);
  c.DrawTokens(1);
  if (spec.afrac < 1) c.root["config"]["afrac"] = spec.afrac;
  if (!loctypes.empty()) c.root["config"]["loctypes"] = loctypes;
  std::map<std::string, Vector> acts;
  c.plain.SetHook([&](Place place, int layer, int, const PlainModel::Rows& rows) {
    const char* name = model::kPlaceNames[static_cast<int>(place)];
    Vector& act = acts[place == Place::kFinalResid ? "act.final_resid" : fmt::format("act.{}.{}", layer, name)];
    for (const Vector& row : rows) act.insert(act.end(), row.begin(), row.end());
  });
  Vector logits;
  for (int s = 0; s < batch; ++s) {
    for (const Vector& row : c.plain.Logits(std::span(c.tokens).subspan(s * positions, positions), s)) {
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  c.plain.SetHook({});
  for (const auto& [name, act] : acts) {
    c.Add(name, {batch, positions, static_cast<int64_t>(act.size()) / (batch * positions)}, act);
  }
  c.Add("logits", {batch, positions, spec.vocab}, logits);
  std::vector<Vector> gradient;
  c.Add("loss", {1}, {c.Gradient(c.tokens, gradient)});
  for (int tensor = 0; tensor < c.registry.size(); ++tensor) {
    c.Add("grad." + c.registry[tensor].name, c.registry[tensor].shape, gradient[tensor]);
  }
  EXPECT_TRUE(c.Agrees("--threads 2 --shards 2")) << "seed " << kSeed << ", " << c.root["config"];
}

TEST(PlainCases, ReluPositionsSinksAndSomePlaces) {
  model::ModelSpec spec = TinySpec();
  spec.activation = config::Activation::kRelu;
  spec.d_pos_emb = 4;
  spec.sink = spec.bigram = true;
  SetTopK(spec, 0.4, {Place::kAttnIn, Place::kV, Place::kMlpNeuron, Place::kMlpOut});
  CheckForward(spec, 3, 11, "attn_in,attn_v,mlp_neuron,mlp_out");
}

TEST(PlainCases, ATableOfPositionsLongerThanTheSequences) {
  model::ModelSpec spec = TinySpec();
  spec.d_pos_emb = 3;
  spec.n_ctx = 20;
  SetTopK(spec, 0.5,
          {Place::kAttnIn, Place::kQ, Place::kK, Place::kV, Place::kAttnOut, Place::kMlpIn, Place::kMlpNeuron,
           Place::kMlpOut});
  CheckForward(spec, 2, 7, "");
}

TEST(PlainCases, OneHeadAndMoreThanOneTile) {
  model::ModelSpec spec = TinySpec();
  spec.n_layer = 1;
  spec.n_head = 1;
  spec.d_head = 5;
  spec.d_mlp = 7;
  spec.sink = true;
  CheckForward(spec, 1, 66, "");
}

void CheckTraining(const model::ModelSpec& spec, const Plan& plan, int batch) {
  CaseWriter c(spec, batch, 8);
  TrainPlainly(c, plan);
  EXPECT_TRUE(c.Agrees("--threads 2 --shards 3")) << "seed " << kSeed << ", " << c.root["config"];
}

TEST(PlainCases, TrainsWithReluAndSinksWithoutWarmupOrTopK) {
  model::ModelSpec spec = TinySpec();
  spec.activation = config::Activation::kRelu;
  spec.sink = true;
  // f_w ends at 1/9, below the density from which forward and backward are sparse; one row keeps 1.1 entries, j is 4.
  CheckTraining(spec, {9, 0.05, 0.3, 0.05, 1, 3, 0, 0.77, 0, 4}, 4);
}

TEST(PlainCases, TrainsWithTopKBigramAndALongWarmup) {
  model::ModelSpec spec = TinySpec();
  spec.bigram = true;
  SetTopK(spec, 0.5,
          {Place::kAttnIn, Place::kQ, Place::kK, Place::kV, Place::kAttnOut, Place::kMlpIn, Place::kMlpNeuron,
           Place::kMlpOut});
  CheckTraining(spec, {8, 0.03, 0.1, 0.1, 1.1, 2, 0.13, 0.61, 0.45, 1}, 3);
}

}  // namespace
}  // namespace filigree::parity
