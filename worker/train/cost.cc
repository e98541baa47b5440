#include "worker/train/cost.h"

namespace filigree::train {
namespace {

double Share(const model::ModelSpec& spec, model::Place place) {
  return static_cast<double>(spec.kept(place)) / spec.channels(place);
}

// Entries that pass AbsTopK among the outputs of a matrix.
double OutputShare(const model::ModelSpec& spec, const model::LayerTensors& layer, int tensor) {
  if (tensor == layer.c_attn) {
    return (Share(spec, model::Place::kQ) + Share(spec, model::Place::kK) + Share(spec, model::Place::kV)) / 3;
  }
  if (tensor == layer.attn_c_proj) return Share(spec, model::Place::kAttnOut);
  if (tensor == layer.c_fc) return Share(spec, model::Place::kMlpNeuron);
  return Share(spec, model::Place::kMlpOut);
}

}  // namespace

StepCost CostOfStep(const model::ModelSpec& spec, const model::Registry& registry, const model::Layout& layout,
                    const std::function<int64_t(int tensor)>& nonzeros, int64_t sequences, int64_t positions) {
  StepCost cost;
  const auto tokens = static_cast<double>(sequences * positions);
  const auto matrix = [&](int tensor, double output_share) {
    const double share = layout.candidates(tensor) == nullptr ? output_share : 1;
    cost.flops += tokens * (4.0 * static_cast<double>(nonzeros(tensor)) +
                            2.0 * static_cast<double>(layout.stored(tensor)) * share);
  };
  for (int l = 0; l < spec.n_layer; ++l) {
    const model::LayerTensors& t = registry.layer(l);
    for (const int tensor : {t.c_attn, t.attn_c_proj, t.c_fc, t.mlp_c_proj}) {
      matrix(tensor, OutputShare(spec, t, tensor));
    }
    // Two products forward, five backward (the scores once more), over the keys that a query sees.
    const double pairs = static_cast<double>(positions) * static_cast<double>(positions + 1) / 2;
    const double share = (Share(spec, model::Place::kK) + Share(spec, model::Place::kV)) / 2;
    cost.flops += static_cast<double>(sequences) * pairs * 2 * 7 * spec.attention_width() * share;
  }
  matrix(registry.lm_head(), 1);
  for (const model::TensorInfo& info : registry.tensors()) {
    const bool selected = info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
    cost.bytes += static_cast<double>(layout.stored(info.index)) * (selected ? 36 : 28);
  }
  return cost;
}

}  // namespace filigree::train
