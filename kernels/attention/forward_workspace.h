#ifndef FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_
#define FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_

#include <cstdint>

#include "kernels/attention/attention_check.h"
#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"
#include "kernels/base/buffer.h"

namespace filigree::kernels {

// What a thread keeps from call to call; the bits are those of the current tile of keys.
struct ForwardWorkspace {
  KeyLists k_lists;
  uint64_t k_bits[kMaxHeadChannels], v_bits[kMaxHeadChannels];
  // Of all tokens, by tile: q in the unit of the exponent, q log2(e) / sqrt(K), and the running y. Rows of the head's
  // own tiles often lie a power of two apart, where a cache holds few of them; these lie side by side.
  Buffer<float> queries;
  Square square;

  float* ReserveQueries(size_t size) {
    if (queries.size() < size) queries = Buffer<float>(size);
    return queries.data();
  }
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_
