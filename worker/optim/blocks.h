#ifndef FILIGREE_WORKER_OPTIM_BLOCKS_H_
#define FILIGREE_WORKER_OPTIM_BLOCKS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "worker/model/layout.h"

// The stored values of a model's tensors cut into fixed blocks: what one task of the pool works on, and what sums are
// formed over. The cut depends on the layout alone, never on threads.

namespace filigree::optim {

inline constexpr int64_t kBlockElements = 1 << 15;  // gradient, moments and weights of a block: 512 KB

struct Block {
  int tensor = 0;
  int64_t offset = 0;  // in an arena
  int64_t size = 0;
};

// In the order of the tensors; a block lies in one of them.
inline std::vector<Block> BlocksOf(const model::Layout& layout) {
  std::vector<Block> blocks;
  blocks.reserve(static_cast<size_t>(layout.floats() / kBlockElements) + layout.size());
  for (int tensor = 0; tensor < layout.size(); ++tensor) {
    const int64_t stored = layout.stored(tensor);
    for (int64_t begin = 0; begin < stored; begin += kBlockElements) {
      blocks.push_back({tensor, layout.offset(tensor) + begin, std::min(kBlockElements, stored - begin)});
    }
  }
  return blocks;
}

}  // namespace filigree::optim

#endif  // FILIGREE_WORKER_OPTIM_BLOCKS_H_
