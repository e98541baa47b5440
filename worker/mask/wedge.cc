#include "worker/mask/wedge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "worker/mask/newcomers.h"

namespace filigree::mask {
namespace {

using kernels::ConstTile;
using kernels::kTileTokens;

// The sum of magnitudes of every token.
std::array<float, kTileTokens> Norms(ConstTile tile) {
  std::array<float, kTileTokens> norms = {};
  for (int c = 0; c < tile.channels; ++c) {
    const float* row = tile.row(c);
    for (int t = 0; t < kTileTokens; ++t) norms[t] += std::abs(row[t]);
  }
  return norms;
}

// The channels of one token, to be drawn by magnitude.
class Channels {
 public:
  void Set(ConstTile tile, int token) {
    until_.resize(tile.channels);
    double sum = 0;
    for (int c = 0; c < tile.channels; ++c) until_[c] = sum += std::abs(tile.at(c, token));
  }

  uint32_t Draw(uint32_t bits) const {
    const double target = (bits + 0.5) * 0x1p-32 * until_.back();
    return static_cast<uint32_t>(std::upper_bound(until_.begin(), until_.end(), target) - until_.begin());
  }

 private:
  std::vector<double> until_;
};

}  // namespace

void WedgeVotes::Add(const WedgeBatch& batch, kernels::ThreadPool& pool) {
  const auto tiles = static_cast<int64_t>(batch.x.size());
  CHECK(batch.dy.size() == batch.x.size(), "{} tiles of dy, {} of x", batch.dy.size(), tiles);
  CHECK(tiles * kTileTokens <= static_cast<int64_t>(Draws::kShares), "{} tiles", tiles);
  CHECK(0 <= batch.samples && batch.samples <= static_cast<int64_t>(Draws::kMost / 2), "{} samples", batch.samples);
  std::vector<double> weight(tiles * kTileTokens);
  pool.Run(tiles, [&](int64_t i, int) {
    CHECK(batch.x[i].channels == in_ && batch.dy[i].channels == out_, "tiles of {} and {} channels for {} x {}",
          batch.dy[i].channels, batch.x[i].channels, out_, in_);
    const auto x = Norms(batch.x[i]), dy = Norms(batch.dy[i]);
    for (int t = 0; t < kTileTokens; ++t) {
      const double product = static_cast<double>(x[t]) * dy[t];
      weight[i * kTileTokens + t] = std::isfinite(product) ? product : 0;
    }
  });
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  if (!(total > 0) || batch.samples == 0) return;

  const Draws draws(batch.seed, batch.stream ^ kernels::StreamOf("wedge"), batch.step);
  const std::vector<int32_t> room(weight.size(), static_cast<int32_t>(batch.samples));
  const std::vector<int32_t> shares = ShareOut(weight, room, batch.samples, draws);
  std::vector<size_t> first(weight.size());
  std::exclusive_scan(shares.begin(), shares.end(), first.begin(), votes_.size());
  votes_.resize(votes_.size() + batch.samples);
  const uint64_t number = worth_.size() << 1;
  worth_.push_back(total / static_cast<double>(batch.samples));
  pool.Run(tiles, [&](int64_t i, int) {
    const ConstTile x = batch.x[i], dy = batch.dy[i];
    Channels of_x, of_dy;
    for (int t = 0; t < kTileTokens; ++t) {
      const size_t token = i * kTileTokens + t;
      if (shares[token] == 0) continue;
      of_x.Set(x, t);
      of_dy.Set(dy, t);
      DrawReader reader(draws, token);
      for (int32_t n = 0; n < shares[token]; ++n) {
        const uint32_t o = of_dy.Draw(reader.Next()), c = of_x.Draw(reader.Next());
        const bool negative = std::signbit(dy.at(static_cast<int>(o), t)) != std::signbit(x.at(static_cast<int>(c), t));
        votes_[first[token] + n] = uint64_t{o * static_cast<uint32_t>(in_) + c} << 32 | number | (negative ? 1 : 0);
      }
    }
  });
}

void WedgeVotes::Clear() {
  worth_.clear();
  votes_.clear();
}

std::vector<WedgeVotes::Sum> WedgeVotes::Sums() const {
  std::vector<uint64_t> votes = votes_;
  std::sort(votes.begin(), votes.end());
  std::vector<Sum> sums;
  for (size_t i = 0; i < votes.size();) {
    Sum sum = {static_cast<uint32_t>(votes[i] >> 32)};
    for (; i < votes.size() && votes[i] >> 32 == sum.position; ++i) {
      const double worth = worth_[(votes[i] & 0xffffffff) >> 1];
      sum.sum += (votes[i] & 1) != 0 ? -worth : worth;
    }
    sums.push_back(sum);
  }
  return sums;
}

std::vector<uint32_t> WedgeVotes::Best(int64_t count) const {
  std::vector<Sum> sums = Sums();
  std::erase_if(sums, [](const Sum& s) { return s.sum == 0; });
  const auto most = std::min<int64_t>(count, static_cast<int64_t>(sums.size()));
  std::partial_sort(sums.begin(), sums.begin() + most, sums.end(), [](const Sum& a, const Sum& b) {
    return std::abs(a.sum) != std::abs(b.sum) ? std::abs(a.sum) > std::abs(b.sum) : a.position < b.position;
  });
  std::vector<uint32_t> best(most);
  for (int64_t i = 0; i < most; ++i) best[i] = sums[i].position;
  return best;
}

}  // namespace filigree::mask
