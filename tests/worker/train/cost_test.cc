// What a step has to do at least, counted by hand for one small model.

#include "worker/train/cost.h"

#include "gtest/gtest.h"
#include "worker/model/registry.h"

namespace filigree::train {
namespace {

TEST(CostOfStep, CountsNonzerosTwiceAndTheDenseGradientByItsKeptOutputs) {
  model::ModelSpec spec;
  spec.d_model = 4;
  spec.n_layer = 1;
  spec.n_head = 1;
  spec.d_head = 4;
  spec.d_mlp = 8;
  spec.n_ctx = 3;
  spec.vocab = 10;
  spec.afrac = 0.5;
  spec.topk[static_cast<int>(model::Place::kMlpNeuron)] = true;
  const model::Registry registry(spec);
  const int64_t tokens = 2 * 3;
  const auto nonzeros = [](int) { return int64_t{5}; };
  const StepCost cost = CostOfStep(spec, registry, model::Layout(registry.numels()), nonzeros, 2, 3);
  // c_attn 12 x 4, c_proj 4 x 4, c_fc 8 x 4 at one output in two, c_proj 4 x 8, lm_head 10 x 4.
  const double gradients = 2.0 * (48 + 16 + 32 * 0.5 + 32 + 40);
  const double attention = 2 * 6 * 2 * 7 * 4;  // sequences, pairs, a fused multiply-add, products, channels
  EXPECT_DOUBLE_EQ(cost.flops, tokens * (5 * 4.0 * 5 + gradients) + attention);
  const double selected = 48 + 16 + 32 + 32 + 40 + 40;  // the matrices and wte
  const double dense = 3 * 4 + 12 + 4 + 8 + 4;          // gains and biases
  EXPECT_DOUBLE_EQ(cost.bytes, 36 * selected + 28 * dense);
}

}  // namespace
}  // namespace filigree::train
