#include "worker/model/pass_buffers.h"

#include <algorithm>

namespace filigree::model {

PassBuffers::PassBuffers(const ModelSpec& spec, const Registry& registry, const PassShape& shape, int threads)
    : sequences(shape.sequences), tiles_per_sequence(shape.tiles_per_sequence) {
  const int kept_layers = shape.for_backward ? spec.n_layer : std::min(spec.n_layer, 2);
  layers.reserve(kept_layers);
  for (int l = 0; l < kept_layers; ++l) layers.emplace_back(spec, shape);
  head = std::make_unique<HeadActivations>(spec, sequences, tiles_per_sequence, shape.own);
  if (!shape.for_backward) return;
  backward = std::make_unique<BackwardBuffers>(spec, sequences, tiles_per_sequence);
  small = std::make_unique<SmallGradients>(registry, sequences);
  partials = std::make_unique<PartialGradients>(sequences);
  scratch.reserve(threads);
  for (int i = 0; i < threads; ++i) scratch.emplace_back(spec, tiles_per_sequence);
  if (!spec.rounds()) return;
  if (shape.layer_by_layer) {
    working.emplace_back(spec, tiles());
    return;
  }
  working.reserve(threads);
  for (int i = 0; i < threads; ++i) working.push_back(LayerValues::Scratch(spec, tiles_per_sequence));
}

void PassBuffers::BeginPartials(const Registry& registry, const Weights& weights, int layer) {
  if (layer == static_cast<int>(weights.layers.size())) {
    return partials->Begin({{registry.lm_head(), weights.lm_head.candidates()}});
  }
  const LayerTensors& t = registry.layer(layer);
  const LayerWeights& w = weights.layers[layer];
  partials->Begin({{t.c_attn, w.c_attn.candidates()},
                   {t.attn_c_proj, w.attn_c_proj.candidates()},
                   {t.c_fc, w.c_fc.candidates()},
                   {t.mlp_c_proj, w.mlp_c_proj.candidates()},
                   {t.c_attn_bias, w.c_attn.out()},
                   {t.attn_c_proj_bias, w.attn_c_proj.out()},
                   {t.c_fc_bias, w.c_fc.out()},
                   {t.mlp_c_proj_bias, w.mlp_c_proj.out()}});
}

void PassBuffers::ClearGradients() {
  small->Clear();
  if (backward->positions.bytes() == 0) return;
  std::fill_n(backward->positions.tile(0).data, backward->positions.stride() * tiles(), 0.0f);
}

size_t PassBuffers::bytes() const {
  size_t total = 0;
  for (const LayerActivations& layer : layers) total += layer.bytes();
  if (head != nullptr) total += head->bytes();
  if (backward != nullptr) total += backward->bytes();
  if (small != nullptr) total += small->bytes();
  if (partials != nullptr) total += partials->bytes();
  for (const BackwardScratch& thread : scratch) total += thread.bytes();
  for (const LayerValues& values : working) total += values.bytes();
  return total;
}

}  // namespace filigree::model
