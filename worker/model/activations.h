#ifndef FILIGREE_WORKER_MODEL_ACTIVATIONS_H_
#define FILIGREE_WORKER_MODEL_ACTIVATIONS_H_

#include <cstdint>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"
#include "worker/model/spec.h"

// What a pass remembers of its sequences, place by place: tiles of all sequences one after the other, sequence s
// beginning at tile s * tiles per sequence.

namespace filigree::model {

// Tiles [begin, end) of a pass.
struct TileRun {
  int begin = 0, end = 0;
};

// Activations of one place: [tiles][channels][64], of all tiles of a pass or of a run of them.
class TileBuffer {
 public:
  TileBuffer() = default;
  TileBuffer(int tiles, int channels) : TileBuffer(TileRun{0, tiles}, channels) {}
  TileBuffer(TileRun run, int channels)
      : data_(static_cast<size_t>(run.end - run.begin) * channels * kernels::kTileTokens),
        channels_(channels),
        first_(run.begin) {}

  kernels::Tile tile(int n) { return {data_.data() + stride() * (n - first_), channels_}; }
  kernels::ConstTile tile(int n) const { return {data_.data() + stride() * (n - first_), channels_}; }
  // The tiles from `first_tile` on.
  kernels::TileSeries from(int first_tile) { return {tile(first_tile).data, channels_, stride()}; }
  kernels::ConstTileSeries from(int first_tile) const { return {tile(first_tile).data, channels_, stride()}; }

  const float* data() const { return data_.data(); }
  size_t stride() const { return static_cast<size_t>(channels_) * kernels::kTileTokens; }  // floats from tile to tile
  int channels() const { return channels_; }
  size_t bytes() const { return data_.size() * sizeof(float); }

 private:
  kernels::Buffer<float> data_;
  int channels_ = 0, first_ = 0;
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

// One layer, forward. q, k and v are rows [0, HK), [HK, 2 HK), [2 HK, 3 HK) of qkv. `own`: the tiles whose residual is
// here, all unless ranks share the model.
struct LayerActivations {
  LayerActivations(const ModelSpec& spec, int sequences, int tiles_per_sequence, TileRun own);
  size_t bytes() const;

  TileBuffer resid_in, act_in, qkv, attn_y, resid_mid, mlp_in, pre_act, neurons;
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
