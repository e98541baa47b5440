#ifndef FILIGREE_KERNELS_BASE_TILE_H_
#define FILIGREE_KERNELS_BASE_TILE_H_

#include <cstddef>
#include <cstdint>

// Token tiles: how every activation of the project lies in memory.
//
// A tile holds all channels of 64 consecutive tokens of one sequence, feature-major: row c holds channel c of the 64
// tokens, 256 contiguous bytes, and rows follow each other without gaps. A sparse weight matrix has no useful structure
// in its columns but every token uses the same one, so vectors run over tokens and a nonzero costs one row.
//
// A sequence of T tokens is ceil(T / 64) tiles; the tokens past its end are padding: kernels compute them like any
// other (so their values must be finite), and the loss gives them no gradient.
//
// Kept bits: what AbsTopK kept of a tile is one uint64_t a channel, bit t for token t. The backward pass uses these,
// never `value != 0`.

namespace filigree::kernels {

inline constexpr int kTileTokens = 64;

constexpr int TilesOf(int tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }

// A view; the memory is the caller's and 64-byte aligned.
struct ConstTile {
  const float* data = nullptr;
  int channels = 0;

  const float* row(int c) const { return data + static_cast<size_t>(c) * kTileTokens; }
  float at(int c, int t) const { return row(c)[t]; }
  size_t size() const { return static_cast<size_t>(channels) * kTileTokens; }
  // Channels [first, first + count) as a tile of their own.
  ConstTile rows(int first, int count) const { return {row(first), count}; }
};

struct Tile {
  float* data = nullptr;
  int channels = 0;

  float* row(int c) const { return data + static_cast<size_t>(c) * kTileTokens; }
  float& at(int c, int t) const { return row(c)[t]; }
  size_t size() const { return static_cast<size_t>(channels) * kTileTokens; }
  Tile rows(int first, int count) const { return {row(first), count}; }
  operator ConstTile() const { return {data, channels}; }
};

// The same rows of consecutive tiles of one sequence: tile i begins at data + i * tile_stride (in floats).
struct ConstTileSeries {
  const float* data = nullptr;
  int channels = 0;
  size_t tile_stride = 0;

  ConstTile tile(int i) const { return {data + i * tile_stride, channels}; }
  float at(int c, int t) const { return tile(t / kTileTokens).at(c, t % kTileTokens); }
  ConstTileSeries rows(int first, int count) const {
    return {data + static_cast<size_t>(first) * kTileTokens, count, tile_stride};
  }
};

struct TileSeries {
  float* data = nullptr;
  int channels = 0;
  size_t tile_stride = 0;

  Tile tile(int i) const { return {data + i * tile_stride, channels}; }
  float& at(int c, int t) const { return tile(t / kTileTokens).at(c, t % kTileTokens); }
  TileSeries rows(int first, int count) const {
    return {data + static_cast<size_t>(first) * kTileTokens, count, tile_stride};
  }
  operator ConstTileSeries() const { return {data, channels, tile_stride}; }
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_TILE_H_
