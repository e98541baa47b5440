#ifndef FILIGREE_WORKER_MODEL_FORWARD_H_
#define FILIGREE_WORKER_MODEL_FORWARD_H_

#include <vector>

#include "worker/model/activations.h"
#include "worker/model/spec.h"
#include "worker/model/tap.h"
#include "worker/model/weights.h"

// One layer of one sequence, forward.

namespace filigree::model {

// A sequence among those of a pass: its tiles are [first_tile, first_tile + tiles) of every TileBuffer.
struct SequenceSlot {
  int sequence = 0;
  int positions = 0;
  int tiles = 0;
  int first_tile = 0;
};

// Where the last thresholds of AbsTopK lay in the distribution of their tile, one a layer and place: guesses that only
// cost time. One object a thread.
class TopKGuesses {
 public:
  explicit TopKGuesses(const ModelSpec& spec) : guesses_(static_cast<size_t>(spec.n_layer) * kPlaces) {}
  float* at(int layer, Place place) {
    return &guesses_[static_cast<size_t>(layer) * kPlaces + static_cast<int>(place)];
  }

 private:
  std::vector<float> guesses_;
};

struct ForwardPass {
  const ModelSpec& spec;
  const Weights& weights;
  Tap* tap;              // or null
  TopKGuesses& guesses;  // of the thread that runs the pass

  // act.resid_in of the slot -> everything else in `act`, and the residual after the layer in `resid_out`. x: where the
  // layer is computed, act.values or scratch.
  void Layer(int layer, const SequenceSlot& slot, LayerActivations& act, LayerValues& x, TileBuffer& resid_out) const;

  // Tells the tap, if there is one.
  void Visit(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept,
             kernels::Tile values) const;

  // The values of a place are formed. Where activations are stored as bf16 they are rounded, and kept (null: nowhere).
  void Keep(kernels::Tile values, kernels::Bf16Tile kept) const;

  // The steps of a layer that ranks sharing the model do as well.
  void Input(int layer, Place place, const SequenceSlot& slot, int tile, LayerActivations& act, LayerValues& x) const;
  void Attention(int layer, const SequenceSlot& slot, LayerActivations& act, LayerValues& x) const;
  void Neurons(int layer, int n, LayerActivations& act, LayerValues& x) const;
  void Deliver(int layer, Place place, const SequenceSlot& slot, int tile, kernels::ConstTile resid, uint64_t* kept,
               kernels::Tile out) const;

 private:
  void Queries(int layer, const SequenceSlot& slot, int tile, LayerActivations& act, LayerValues& x) const;
  void Mlp(int layer, const SequenceSlot& slot, int tile, LayerActivations& act, LayerValues& x,
           TileBuffer& resid_out) const;
  void Select(int layer, Place place, kernels::Tile x, uint64_t* kept) const;
  // Keep, and the tap's turn.
  void Settle(Place place, int layer, const SequenceSlot& slot, int tile, const uint64_t* kept, kernels::Tile values,
              kernels::Bf16Tile bf16) const;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_FORWARD_H_
