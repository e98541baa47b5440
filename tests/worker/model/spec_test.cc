#include "worker/model/spec.h"

#include "gtest/gtest.h"
#include "tests/support/small_model.h"

namespace filigree::model {
namespace {

TEST(Spec, ChannelsAndKeptEntriesOfEveryPlace) {
  ModelSpec spec = testing_support::SmallSpec();  // D 22, HK 15, F 37, P 6, afrac 0.4
  const std::array<int, kPlaces> channels = {22, 28, 15, 15, 15, 15, 22, 22, 28, 37, 22, 22};
  // floor(0.4 * channels) at the eight places, everything at the others.
  const std::array<int, kPlaces> kept = {22, 11, 6, 6, 6, 15, 8, 22, 11, 14, 8, 22};
  for (int i = 0; i < kPlaces; ++i) {
    const auto place = static_cast<Place>(i);
    EXPECT_EQ(spec.channels(place), channels[i]) << kPlaceNames[i];
    EXPECT_EQ(spec.kept(place), kept[i]) << kPlaceNames[i];
    EXPECT_EQ(spec.has_topk(place), kTopKPlaceNames[i] != nullptr) << kPlaceNames[i];
  }
  spec.topk[static_cast<int>(Place::kQ)] = false;
  EXPECT_FALSE(spec.has_topk(Place::kQ));
  EXPECT_TRUE(spec.has_topk(Place::kK));
  spec.afrac = 1;
  for (int i = 0; i < kPlaces; ++i) EXPECT_FALSE(spec.has_topk(static_cast<Place>(i)));
}

TEST(Spec, NamesOfTheEightPlaces) {
  EXPECT_EQ(PlaceOfTopKName("attn_in"), static_cast<int>(Place::kAttnIn));
  EXPECT_EQ(PlaceOfTopKName("attn_v"), static_cast<int>(Place::kV));
  EXPECT_EQ(PlaceOfTopKName("attn_out"), static_cast<int>(Place::kAttnOut));
  EXPECT_EQ(PlaceOfTopKName("mlp_neuron"), static_cast<int>(Place::kMlpNeuron));
  for (const char* none : {"", "attn", "resid_in", "attn.q", "ATTN_Q"}) EXPECT_EQ(PlaceOfTopKName(none), kPlaces);
  int named = 0;
  for (const char* name : kTopKPlaceNames) {
    if (name == nullptr) continue;
    ++named;
    EXPECT_STREQ(kTopKPlaceNames[PlaceOfTopKName(name)], name);
  }
  EXPECT_EQ(named, 8);
}

TEST(MakeSpec, TakesEverySetting) {
  config::ModelSettings settings;
  settings.d_model = 64;
  settings.n_layer = 3;
  settings.d_head = 8;
  settings.d_mlp = 200;
  settings.n_ctx = 33;
  settings.activation = config::Activation::kRelu;
  settings.afrac = 0.5;
  settings.topk_places = {"attn_in", "mlp_out"};
  settings.sink = true;
  settings.bigram = false;
  settings.d_pos_emb = 4;
  const auto spec = MakeSpec(settings, 100);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->d_model, 64);
  EXPECT_EQ(spec->n_layer, 3);
  EXPECT_EQ(spec->n_head, 8);
  EXPECT_EQ(spec->d_head, 8);
  EXPECT_EQ(spec->d_mlp, 200);
  EXPECT_EQ(spec->n_ctx, 33);
  EXPECT_EQ(spec->vocab, 100);
  EXPECT_EQ(spec->d_pos_emb, 4);
  EXPECT_EQ(spec->activation, config::Activation::kRelu);
  EXPECT_EQ(spec->afrac, 0.5);
  EXPECT_TRUE(spec->sink);
  EXPECT_FALSE(spec->bigram);
  for (int i = 0; i < kPlaces; ++i) {
    const auto place = static_cast<Place>(i);
    EXPECT_EQ(spec->topk[i], place == Place::kAttnIn || place == Place::kMlpOut) << kPlaceNames[i];
  }
}

TEST(MakeSpec, RefusesAVocabularyThatDoesNotFitAndAPlaceThatIsNone) {
  config::ModelSettings settings;
  settings.d_mlp = 1024;
  for (const int vocab : {0, 1, 65536}) {
    EXPECT_EQ(MakeSpec(settings, vocab).status().code(), absl::StatusCode::kInvalidArgument) << vocab;
  }
  settings.topk_places = {"attn_in", "mlp_middle"};
  const auto spec = MakeSpec(settings, 100);
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(spec.status().message()).find("mlp_middle"), std::string::npos);
}

}  // namespace
}  // namespace filigree::model
