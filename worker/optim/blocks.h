#ifndef FILIGREE_WORKER_OPTIM_BLOCKS_H_
#define FILIGREE_WORKER_OPTIM_BLOCKS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "worker/model/registry.h"

// The parameters of a model cut into fixed blocks: what one task of the pool works on, and what sums are formed over.
// The cut depends on the registry alone, never on threads.

namespace filigree::optim {

inline constexpr int64_t kBlockElements = 1 << 15;  // gradient, moments and weights of a block: 512 KB

struct Block {
  int tensor = 0;
  int64_t offset = 0;  // in an arena
  int64_t size = 0;
};

// In the order of the registry; a block lies in one tensor.
inline std::vector<Block> BlocksOf(const model::Registry& registry) {
  std::vector<Block> blocks;
  for (int tensor = 0; tensor < registry.size(); ++tensor) {
    const int64_t numel = registry[tensor].numel();
    for (int64_t begin = 0; begin < numel; begin += kBlockElements) {
      blocks.push_back({tensor, registry[tensor].offset + begin, std::min(kBlockElements, numel - begin)});
    }
  }
  return blocks;
}

}  // namespace filigree::optim

#endif  // FILIGREE_WORKER_OPTIM_BLOCKS_H_
