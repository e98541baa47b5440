#ifndef FILIGREE_TESTS_SUPPORT_TILES_H_
#define FILIGREE_TESTS_SUPPORT_TILES_H_

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/random.h"
#include "kernels/base/tile.h"

// Tiles and arrays that own their memory, filled from a seed.

namespace filigree::testing_support {

// A stateful view of the counter-based generator: tests print the seed and draw on.
class Rng {
 public:
  explicit Rng(uint64_t seed) : rng_(seed, 0) {}
  float Normal() { return static_cast<float>(rng_.Normal(next_++)); }
  double Uniform() { return rng_.Uniform(next_++); }
  uint64_t Below(uint64_t n) { return rng_.Below(next_++, n); }

 private:
  kernels::CounterRng rng_;
  uint64_t next_ = 0;
};

class OwnedTile {
 public:
  explicit OwnedTile(int channels) : data_(static_cast<size_t>(channels) * kernels::kTileTokens), channels_(channels) {}
  kernels::Tile tile() { return {data_.data(), channels_}; }
  kernels::ConstTile tile() const { return {data_.data(), channels_}; }
  operator kernels::Tile() { return tile(); }
  operator kernels::ConstTile() const { return tile(); }
  float& at(int c, int t) { return tile().at(c, t); }
  float at(int c, int t) const { return tile().at(c, t); }
  template <typename Draw>
  void Fill(Draw draw) {
    for (float& x : data_) x = draw();
  }

 private:
  kernels::Buffer<float> data_;
  int channels_;
};

inline bool BitwiseEqual(kernels::ConstTile a, kernels::ConstTile b) {
  return a.channels == b.channels && std::memcmp(a.data, b.data, a.size() * sizeof(float)) == 0;
}

// Relative L2 distance ||a - b|| / ||b||, in double; 0 if both are zero.
template <typename A, typename B>
double RelativeDistance(const A& a, const B& b, size_t n) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_TILES_H_
