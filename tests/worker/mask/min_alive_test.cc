#include "worker/mask/min_alive.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/small_model.h"

namespace filigree::mask {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

model::ModelSpec Spec() {
  model::ModelSpec spec = testing_support::SmallSpec();
  spec.d_pos_emb = 0;
  spec.d_model = 64;
  spec.n_head = 8;
  spec.d_head = 8;
  spec.d_mlp = 256;
  return spec;
}

const model::TensorInfo& Tensor(const model::Registry& registry, const std::string& name) {
  const int index = registry.Find(name);
  EXPECT_GE(index, 0) << name;
  return registry[index];
}

TEST(EffectiveMinAlive, IsLoweredWhereKIsTooSmall) {
  const model::Registry registry(Spec());
  const model::TensorInfo& c_fc = Tensor(registry, "transformer.h.1.mlp.c_fc.weight");  // 256 rows of 64
  EXPECT_EQ(UnitsOf(c_fc), 256);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 2048, 4).j, 4);
  EXPECT_DOUBLE_EQ(EffectiveMinAlive(c_fc, 2048, 4).share_of_k, 0.5);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 1024, 4).j, 4);
  EXPECT_DOUBLE_EQ(EffectiveMinAlive(c_fc, 1024, 4).share_of_k, 1);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 1023, 4).j, 3);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 255, 4).j, 0);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 0, 4).j, 0);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 0, 4).share_of_k, 0);
  EXPECT_EQ(EffectiveMinAlive(c_fc, 2048, 0).j, 0);
}

TEST(EffectiveMinAlive, UnitsAreRowsOrColumnsOrNone) {
  const model::Registry registry(Spec());
  EXPECT_EQ(UnitsOf(Tensor(registry, "transformer.h.0.attn.c_attn.weight")), 192);
  EXPECT_EQ(UnitsOf(Tensor(registry, "transformer.h.0.attn.c_proj.weight")), 64);
  EXPECT_EQ(UnitsOf(Tensor(registry, "transformer.h.0.mlp.c_proj.weight")), 256);
  EXPECT_EQ(UnitsOf(Tensor(registry, "transformer.wte.weight")), 0);
  EXPECT_EQ(UnitsOf(Tensor(registry, "lm_head.weight")), 0);
  EXPECT_EQ(UnitsOf(Tensor(registry, "transformer.h.0.mlp.c_fc.bias")), 0);
  EXPECT_EQ(EffectiveMinAlive(Tensor(registry, "lm_head.weight"), 100, 4).j, 0);
}

TEST(MinAliveNotes, SaysTheShare) {
  const model::Registry registry(Spec());
  const auto notes = MinAliveNotes(registry, {0.25, 0.5}, 4);
  ASSERT_EQ(notes.size(), 1);
  EXPECT_THAT(notes[0], AllOf(HasSubstr("j = 4"), HasSubstr("attn.c_attn.weight 25 %"), HasSubstr("mlp.c_proj.weight"),
                              Not(HasSubstr("wte"))));
}

TEST(MinAliveNotes, SaysWhereTheGlobalRankingChoosesNothing) {
  const model::Registry registry(Spec());
  // f_w D = 4 = j: rows of 64 keep 4 each.
  const auto equal = MinAliveNotes(registry, {1.0 / 16, 0.5}, 4);
  ASSERT_EQ(equal.size(), 2);
  EXPECT_THAT(equal[0], HasSubstr("100 %"));
  EXPECT_THAT(equal[1], AllOf(HasSubstr("alone decides"), HasSubstr("mlp.c_fc.weight")));
  const auto just_above = MinAliveNotes(registry, {1.01 / 16, 0.5}, 4);
  EXPECT_EQ(just_above.size(), 1);
}

TEST(MinAliveNotes, NamesWhatIsLowered) {
  const model::Registry registry(Spec());
  const auto notes = MinAliveNotes(registry, {1.0 / 32, 0.5}, 4);
  ASSERT_EQ(notes.size(), 3);
  EXPECT_THAT(notes[1], AllOf(HasSubstr("lowered from 4"), HasSubstr("mlp.c_fc.weight to 2 (k = 512 for 256 units)")));
}

// What is left over once every unit has its lowered number is the ranking's: no word of "alone".
TEST(MinAliveNotes, ALoweredMinAliveDecidesOnlyWhatItTakes) {
  const model::Registry registry(Spec());
  const auto notes = MinAliveNotes(registry, {3.5 / 64, 0.5}, 4);
  ASSERT_EQ(notes.size(), 2);
  EXPECT_THAT(notes[0], HasSubstr("mlp.c_fc.weight 86 %"));
  EXPECT_THAT(notes[1], AllOf(HasSubstr("lowered from 4"), HasSubstr("mlp.c_fc.weight to 3 (k = 896 for 256 units)")));
  // Fewer entries than units: it decides nothing at all.
  const auto none = MinAliveNotes(registry, {0.5 / 64, 0.5}, 4);
  ASSERT_EQ(none.size(), 2);
  EXPECT_THAT(none[0], HasSubstr("mlp.c_fc.weight 0 %"));
  EXPECT_THAT(none[1], HasSubstr("mlp.c_fc.weight to 0"));
}

TEST(MinAliveNotes, SpeaksOfAllMatricesWhereTheyShareAThreshold) {
  const model::Registry registry(Spec());
  constexpr auto kGlobal = config::MaskScope::kGlobal;
  const auto notes = MinAliveNotes(registry, {0.25, 0.5}, 4, kGlobal);
  ASSERT_EQ(notes.size(), 1);
  // c_attn and c_fc: rows of 64 keep 16; c_proj: columns of 64 in a square matrix, and in one of 256.
  EXPECT_THAT(notes[0], AllOf(HasSubstr("all matrices together 25 %"), Not(HasSubstr("c_attn"))));
  const auto all = MinAliveNotes(registry, {1.0 / 16, 0.5}, 4, kGlobal);
  ASSERT_EQ(all.size(), 2);
  EXPECT_THAT(all[1], AllOf(HasSubstr("alone decides"), HasSubstr("all matrices")));
  const auto lowered = MinAliveNotes(registry, {1.0 / 32, 0.5}, 4, kGlobal);
  ASSERT_EQ(lowered.size(), 3);
  EXPECT_THAT(lowered[1], HasSubstr("mlp.c_fc.weight to 2"));
}

TEST(MinAliveNotes, SilentWhereNothingIsMaskedOrAsked) {
  const model::Registry registry(Spec());
  EXPECT_TRUE(MinAliveNotes(registry, {1, 0.5}, 4).empty());
  EXPECT_TRUE(MinAliveNotes(registry, {0.25, 0.5}, 0).empty());
}

}  // namespace
}  // namespace filigree::mask
