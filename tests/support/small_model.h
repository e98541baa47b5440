#ifndef FILIGREE_TESTS_SUPPORT_SMALL_MODEL_H_
#define FILIGREE_TESTS_SUPPORT_SMALL_MODEL_H_

#include "tests/support/tiles.h"
#include "worker/model/arena.h"
#include "worker/model/spec.h"

// A model small enough for finite differences, with every option on and no dimension that divides another.

namespace filigree::testing_support {

inline model::ModelSpec SmallSpec() {
  model::ModelSpec spec;
  spec.d_model = 22;
  spec.n_layer = 2;
  spec.n_head = 3;
  spec.d_head = 5;  // H K = 15 is not D
  spec.d_mlp = 37;
  spec.n_ctx = 70;
  spec.vocab = 29;
  spec.d_pos_emb = 6;
  spec.afrac = 0.4;
  for (int place = 0; place < model::kPlaces; ++place) spec.topk[place] = model::kTopKPlaceNames[place] != nullptr;
  spec.sink = true;
  spec.bigram = true;
  return spec;
}

// Every tensor normal with deviation `std`, gains around 1.
inline void FillWeights(const model::Registry& registry, uint64_t seed, float std, model::Arena& weights) {
  Rng rng(seed);
  for (const model::TensorInfo& info : registry.tensors()) {
    const float mean = info.init == model::Init::kOne ? 1.0f : 0.0f;
    float* w = weights.tensor(info);
    for (int64_t i = 0; i < info.numel(); ++i) w[i] = mean + std * rng.Normal();
  }
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_SMALL_MODEL_H_
