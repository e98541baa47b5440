#ifndef FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_
#define FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_

#include <cstdint>

#include "kernels/attention/attention_check.h"
#include "kernels/attention/kept_lists.h"
#include "kernels/attention/square.h"

namespace filigree::kernels {

// What a thread keeps from call to call; the bits are those of the current tile of keys.
struct ForwardWorkspace {
  KeyLists k_lists;
  uint64_t k_bits[kMaxHeadChannels], v_bits[kMaxHeadChannels];
  Square square;
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_FORWARD_WORKSPACE_H_
