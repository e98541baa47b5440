#include "worker/model/channel_norms.h"

#include <algorithm>

#include "kernels/base/tile.h"
#include "kernels/sddmm/channel_squares.h"

namespace filigree::model {
namespace {

using kernels::kTileTokens;

constexpr int kChannelsPerTask = 64;

void AddChannels(std::span<const kernels::ConstTile> tiles, kernels::ThreadPool& pool, std::vector<double>& sums) {
  const int channels = static_cast<int>(sums.size());
  pool.Run((channels + kChannelsPerTask - 1) / kChannelsPerTask, [&](int64_t task, int) {
    const int begin = static_cast<int>(task) * kChannelsPerTask, end = std::min(begin + kChannelsPerTask, channels);
    for (const kernels::ConstTile& tile : tiles) {
      kernels::AddChannelSquares(tile.rows(begin, end - begin), sums.data() + begin);
    }
  });
}

}  // namespace

ChannelNorms::ChannelNorms(const Registry& registry, int stride) : stride_(stride), sums_(registry.size()) {}

bool ChannelNorms::Takes(size_t tile, size_t tiles) const {
  if (tiles < stride_) return tile == phase_ % tiles;
  return tile % stride_ == (tile / stride_ + phase_) % stride_;
}

std::vector<kernels::ConstTile> ChannelNorms::Taken(std::span<const kernels::ConstTile> tiles) const {
  std::vector<kernels::ConstTile> taken;
  taken.reserve(tiles.size() / stride_ + 1);
  for (size_t n = 0; n < tiles.size(); ++n) {
    if (Takes(n, tiles.size())) taken.push_back(tiles[n]);
  }
  return taken;
}

void ChannelNorms::Clear(uint64_t phase) {
  phase_ = phase;
  for (Sums& sums : sums_) {
    std::fill(sums.rows.begin(), sums.rows.end(), 0.0);
    std::fill(sums.columns.begin(), sums.columns.end(), 0.0);
  }
}

ChannelNorms::Sums& ChannelNorms::SumsOf(const TensorInfo& info) {
  Sums& sums = sums_[info.index];
  sums.rows.resize(info.rows);
  sums.columns.resize(info.cols);
  return sums;
}

void ChannelNorms::Matrix(const TensorInfo& info, std::span<const kernels::ConstTile> dy,
                          std::span<const kernels::ConstTile> x, kernels::ThreadPool& pool) {
  Sums& sums = SumsOf(info);
  AddChannels(Taken(dy), pool, sums.rows);
  AddChannels(Taken(x), pool, sums.columns);
}

void ChannelNorms::Table(const TensorInfo& info, std::span<const kernels::ConstTile> dx,
                         std::span<const int32_t* const> tokens, kernels::ThreadPool& pool) {
  Sums& sums = SumsOf(info);
  const size_t tiles = tokens.size();
  AddChannels(Taken(dx), pool, sums.columns);
  std::vector<double> squares(tiles * kTileTokens);  // of every token, over its channels
  pool.Run(static_cast<int64_t>(tiles), [&](int64_t n, int) {
    if (!Takes(n, tiles)) return;
    const kernels::ConstTile& tile = dx[n];
    double* of = squares.data() + n * kTileTokens;
    for (int c = 0; c < tile.channels; ++c) {
      for (int t = 0; t < kTileTokens; ++t) of[t] += double{tile.at(c, t)} * tile.at(c, t);
    }
  });
  for (size_t n = 0; n < tiles; ++n) {
    for (int t = 0; Takes(n, tiles) && t < kTileTokens; ++t) {
      if (tokens[n][t] >= 0) sums.rows[tokens[n][t]] += squares[n * kTileTokens + t];
    }
  }
}

}  // namespace filigree::model
