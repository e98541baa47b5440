#ifndef FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_
#define FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"
#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"

namespace filigree::kernels {

// A sum for each entry of the keys' lists.
struct KeySums {
  static constexpr int kSlack = 4;  // sums are added to in groups of four

  Buffer<float> sum;

  void Clear(const KeyLists& lists) {
    const size_t size = lists.places.size() + kSlack;
    if (sum.size() < size) sum = Buffer<float>(size);
    std::memset(sum.data(), 0, (static_cast<size_t>(lists.size()) + kSlack) * sizeof(float));
  }
  float* of(int entry) { return sum.data() + entry; }
};

// The keys of one tile and their running gradients.
struct Keys {
  uint64_t k_bits[kMaxHeadChannels], v_bits[kMaxHeadChannels];
  KeyLists k_lists, v_lists;
  KeySums dk, dv;
  ConstTile k, v;
};

// What depends on a query alone, by tile: q in the unit of the exponent, q log2(e) / sqrt(K); dy / z; the largest
// exponent; delta = y . dy / z, all of them formed once a call and 0 in padding; and the running dq. Rows of the head's
// own tiles often lie a power of two apart, where a cache holds few of them; these lie side by side.
struct QueryCopies {
  Buffer<float> data;
  int channels = 0;

  void Reserve(int head_channels, int tiles) {
    channels = head_channels;
    if (data.size() < stride() * tiles) data = Buffer<float>(stride() * tiles);
  }
  float* q(int tile) { return data.data() + stride() * tile; }
  float* dy(int tile) { return q(tile) + size(); }
  float* dq(int tile) { return dy(tile) + size(); }
  float* max(int tile) { return dq(tile) + size(); }
  float* delta(int tile) { return max(tile) + kTileTokens; }

 private:
  size_t size() const { return static_cast<size_t>(channels) * kTileTokens; }
  size_t stride() const { return 3 * size() + size_t{2} * kTileTokens; }
};

// What a thread keeps from call to call.
struct BackwardWorkspace {
  Keys keys;
  QueryCopies queries;
  Square square;
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_
