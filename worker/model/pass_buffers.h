#ifndef FILIGREE_WORKER_MODEL_PASS_BUFFERS_H_
#define FILIGREE_WORKER_MODEL_PASS_BUFFERS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "worker/model/activations.h"
#include "worker/model/backward.h"
#include "worker/model/partial_gradients.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"

// What a pass over some sequences works in.

namespace filigree::model {

struct PassBuffers {
  int sequences = 0, tiles_per_sequence = 0;
  std::vector<LayerActivations> layers;  // two, used in turn, where nothing is kept for a backward pass
  std::unique_ptr<HeadActivations> head;
  std::unique_ptr<BackwardBuffers> backward;
  std::unique_ptr<SmallGradients> small;  // a set a sequence
  std::unique_ptr<PartialGradients> partials;
  std::vector<BackwardScratch> scratch;  // one a thread
  std::vector<LayerValues> working;      // where layers are kept as bf16: one a thread, or one of a whole layer

  // spec: the dimensions here.
  PassBuffers() = default;
  PassBuffers(const ModelSpec& spec, const Registry& registry, const PassShape& shape, int threads);

  // Partial gradients of a layer's matrices and biases, or of lm_head at the number of layers.
  void BeginPartials(const Registry& registry, const Weights& weights, int layer);
  // No gradient by small parameters and positions yet.
  void ClearGradients();

  LayerActivations& layer(int l) { return layers[static_cast<size_t>(l) % layers.size()]; }
  // Where a thread computes with a layer.
  LayerValues& values(int l, int worker) {
    if (working.empty()) return layer(l).values;
    return working[working.size() == 1 ? 0 : worker];
  }
  // The residual before a layer, or after the last one.
  TileBuffer& resid(int l, int n_layer) { return l < n_layer ? layer(l).resid_in : head->final_resid; }
  int tiles() const { return sequences * tiles_per_sequence; }
  size_t bytes() const;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_PASS_BUFFERS_H_
