#ifndef FILIGREE_WORKER_MODEL_ACTIVATIONS_H_
#define FILIGREE_WORKER_MODEL_ACTIVATIONS_H_

#include <cstdint>
#include <vector>

#include "kernels/base/bf16_row.h"
#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"
#include "worker/model/spec.h"

// What a pass remembers of its sequences, place by place: tiles of all sequences one after the other, sequence s
// beginning at tile s * tiles per sequence.
//
// Where activations are stored as bf16 a pass that keeps them does so in Bf16Values, and computes in LayerValues that
// are scratch: of a tile or a sequence a thread, or of one layer where ranks share the model.

namespace filigree::model {

// Tiles [begin, end) of a pass.
struct TileRun {
  int begin = 0, end = 0;
};

// Activations of one place: [tiles][channels][64], of all tiles of a pass, of a run of them, or of a few at a time.
class TileBuffer {
 public:
  TileBuffer() = default;
  TileBuffer(int tiles, int channels) : TileBuffer(TileRun{0, tiles}, channels) {}
  TileBuffer(TileRun run, int channels)
      : data_(static_cast<size_t>(run.end - run.begin) * channels * kernels::kTileTokens),
        channels_(channels),
        first_(run.begin) {}
  // Scratch for `tiles` tiles: tile n takes the place of tile n - tiles.
  static TileBuffer Window(int tiles, int channels) {
    TileBuffer window(tiles, channels);
    window.window_ = tiles;
    return window;
  }

  kernels::Tile tile(int n) { return {data_.data() + stride() * place(n), channels_}; }
  kernels::ConstTile tile(int n) const { return {data_.data() + stride() * place(n), channels_}; }
  // The tiles from `first_tile` on.
  kernels::TileSeries from(int first_tile) { return {tile(first_tile).data, channels_, stride()}; }
  kernels::ConstTileSeries from(int first_tile) const { return {tile(first_tile).data, channels_, stride()}; }

  const float* data() const { return data_.data(); }
  size_t stride() const { return static_cast<size_t>(channels_) * kernels::kTileTokens; }  // floats from tile to tile
  int channels() const { return channels_; }
  size_t bytes() const { return data_.size() * sizeof(float); }

 private:
  int place(int n) const { return window_ == 0 ? n - first_ : n % window_; }

  kernels::Buffer<float> data_;
  int channels_ = 0, first_ = 0, window_ = 0;
};

// Activations of one place as bf16, of all tiles of a pass. Empty where they are not kept so: tile() is null.
class Bf16Buffer {
 public:
  Bf16Buffer() = default;
  Bf16Buffer(int tiles, int channels)
      : words_(static_cast<size_t>(tiles) * channels * kernels::kBf16RowWords), channels_(channels) {}

  bool empty() const { return words_.empty(); }
  kernels::Bf16Tile tile(int n) { return {empty() ? nullptr : words_.data() + stride() * n, channels_}; }
  kernels::ConstBf16Tile tile(int n) const { return {empty() ? nullptr : words_.data() + stride() * n, channels_}; }

  const uint32_t* data() const { return words_.data(); }
  size_t stride() const { return static_cast<size_t>(channels_) * kernels::kBf16RowWords; }  // words from tile to tile
  int channels() const { return channels_; }
  size_t bytes() const { return words_.size() * sizeof(uint32_t); }

 private:
  kernels::Buffer<uint32_t> words_;
  int channels_ = 0;
};

// Kept bits of one place: [tiles][channels] words. Empty where AbsTopK is off: tile() is null.
class KeptBuffer {
 public:
  KeptBuffer() = default;
  KeptBuffer(int tiles, int channels) : words_(static_cast<size_t>(tiles) * channels), channels_(channels) {}

  uint64_t* tile(int n) { return words_.empty() ? nullptr : words_.data() + static_cast<size_t>(channels_) * n; }
  const uint64_t* tile(int n) const {
    return words_.empty() ? nullptr : words_.data() + static_cast<size_t>(channels_) * n;
  }
  size_t stride() const { return channels_; }
  size_t bytes() const { return words_.size() * sizeof(uint64_t); }

 private:
  kernels::Buffer<uint64_t> words_;
  int channels_ = 0;
};

// What the parts of a layer give to each other. q, k and v are rows [0, HK), [HK, 2 HK), [2 HK, 3 HK) of qkv.
template <typename Buffer>
struct PlacesOf {
  PlacesOf() = default;
  PlacesOf(const ModelSpec& spec, int tiles)
      : act_in(tiles, spec.input_width()),
        qkv(tiles, 3 * spec.attention_width()),
        attn_y(tiles, spec.attention_width()),
        mlp_in(tiles, spec.input_width()),
        pre_act(tiles, spec.d_mlp),
        neurons(tiles, spec.d_mlp) {}
  size_t bytes() const {
    return act_in.bytes() + qkv.bytes() + attn_y.bytes() + mlp_in.bytes() + pre_act.bytes() + neurons.bytes();
  }

  Buffer act_in, qkv, attn_y, mlp_in, pre_act, neurons;
};

struct LayerValues : PlacesOf<TileBuffer> {
  using PlacesOf::PlacesOf;
  // Scratch: of one tile, or a whole sequence where attention goes over it.
  static LayerValues Scratch(const ModelSpec& spec, int tiles_per_sequence);
};

// The same, kept.
using Bf16Values = PlacesOf<Bf16Buffer>;

// How many sequences a pass is over, and what of them it keeps.
struct PassShape {
  int sequences = 0, tiles_per_sequence = 0;
  TileRun own;                  // the tiles whose residual is here: all, unless ranks share the model
  bool for_backward = false;    // layers are kept
  bool layer_by_layer = false;  // a layer goes over all sequences before the next one begins

  int tiles() const { return sequences * tiles_per_sequence; }
};

// One layer, forward.
struct LayerActivations {
  LayerActivations(const ModelSpec& spec, const PassShape& shape);
  size_t bytes() const;

  TileBuffer resid_in, resid_mid;
  LayerValues values;  // empty where bf16 is not
  Bf16Values bf16;     // empty unless they are kept in this form
  KeptBuffer kept_act_in, kept_qkv, kept_attn_out, kept_mlp_in, kept_neurons, kept_mlp_out;
  kernels::Buffer<float> r_attn, r_mlp;    // RMSNorm's r: [tiles][64]
  kernels::Buffer<float> attention_stats;  // [sequences][H][2 * 64 * tiles per sequence]
};

// What comes after the last layer.
struct HeadActivations {
  HeadActivations(const ModelSpec& spec, int sequences, int tiles_per_sequence, TileRun own);
  size_t bytes() const;

  TileBuffer final_resid, normed, logits;  // logits become their gradients in place
  kernels::Buffer<float> r_final;
};

// Gradients on the way down, one layer at a time: by the residual, and by the output of each matrix, masked.
struct BackwardBuffers {
  BackwardBuffers(const ModelSpec& spec, int sequences, int tiles_per_sequence);
  size_t bytes() const;

  TileBuffer resid, qkv, attn_out, pre_act, mlp_out;
  TileBuffer positions;  // by the position channels, summed over layers; empty without
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_ACTIVATIONS_H_
