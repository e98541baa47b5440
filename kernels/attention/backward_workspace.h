#ifndef FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_
#define FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"
#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"

namespace filigree::kernels {

// Sums by key in the order of the key's list, four slots at a time; they go to their channels at the end.
struct KeySums {
  Buffer<float> sum;
  size_t stride = 0;

  void Reserve(int channels) {
    stride = (static_cast<size_t>(channels) + 3) / 4 * 4;
    if (sum.size() < stride * kTileTokens) sum = Buffer<float>(stride * kTileTokens);
  }
  float* of(int key) { return sum.data() + key * stride; }
};

// The keys of one tile and their running gradients.
struct Keys {
  uint64_t k_bits[kMaxHeadChannels], v_bits[kMaxHeadChannels];
  KeyLists k_lists, v_lists;
  KeySums dk, dv;
  ConstTile k, v;
};

// What a thread keeps from call to call.
struct BackwardWorkspace {
  Keys keys;
  Buffer<float> delta;  // of all tokens
  Square square;

  float* ReserveDelta(int tiles) {
    const size_t size = static_cast<size_t>(tiles) * kTileTokens;
    if (delta.size() < size) delta = Buffer<float>(size);
    return delta.data();
  }
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_BACKWARD_WORKSPACE_H_
