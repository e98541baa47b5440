#include "worker/model/channel_norms.h"

#include <algorithm>

#include "kernels/adam/adam.h"
#include "kernels/base/tile.h"

namespace filigree::model {
namespace {

using kernels::kTileTokens;

constexpr int kChannelsPerTask = 64;

void AddChannels(const TileBuffer& values, int tiles, kernels::ThreadPool& pool, std::vector<double>& sums) {
  const int channels = values.channels();
  pool.Run((channels + kChannelsPerTask - 1) / kChannelsPerTask, [&](int64_t task, int) {
    const int begin = static_cast<int>(task) * kChannelsPerTask, end = std::min(begin + kChannelsPerTask, channels);
    for (int n = 0; n < tiles; ++n) {
      const kernels::ConstTile tile = values.tile(n);
      for (int c = begin; c < end; ++c) sums[c] += kernels::SumOfSquares(tile.row(c), kTileTokens);
    }
  });
}

}  // namespace

ChannelNorms::ChannelNorms(const Registry& registry) : sums_(registry.size()) {}

void ChannelNorms::Clear() {
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

void ChannelNorms::Add(const TensorInfo& info, const TileBuffer& dy, const TileBuffer& x, int tiles,
                       kernels::ThreadPool& pool) {
  Sums& sums = SumsOf(info);
  AddChannels(dy, tiles, pool, sums.rows);
  AddChannels(x, tiles, pool, sums.columns);
}

void ChannelNorms::AddTable(const TensorInfo& info, const TileBuffer& dx, const std::vector<const int32_t*>& tokens,
                            kernels::ThreadPool& pool) {
  Sums& sums = SumsOf(info);
  const int tiles = static_cast<int>(tokens.size());
  AddChannels(dx, tiles, pool, sums.columns);
  std::vector<double> squares(static_cast<size_t>(tiles) * kTileTokens);  // of every token, over its channels
  pool.Run(tiles, [&](int64_t n, int) {
    const kernels::ConstTile tile = dx.tile(static_cast<int>(n));
    double* of = squares.data() + n * kTileTokens;
    for (int c = 0; c < tile.channels; ++c) {
      for (int t = 0; t < kTileTokens; ++t) of[t] += double{tile.at(c, t)} * tile.at(c, t);
    }
  });
  for (int n = 0; n < tiles; ++n) {
    for (int t = 0; t < kTileTokens; ++t) {
      if (tokens[n][t] >= 0) sums.rows[tokens[n][t]] += squares[static_cast<size_t>(n) * kTileTokens + t];
    }
  }
}

}  // namespace filigree::model
