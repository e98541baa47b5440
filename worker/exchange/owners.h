#ifndef FILIGREE_WORKER_EXCHANGE_OWNERS_H_
#define FILIGREE_WORKER_EXCHANGE_OWNERS_H_

#include <vector>

#include "worker/model/registry.h"

namespace filigree::exchange {

// Who of `ranks` ranks, data-parallel or sharing a model, updates which matrix. One entry a tensor: matrices that
// follow a density have one owner each, whole, the largest first to whoever has least (ties: to the lower index); -1:
// every rank has and updates the tensor. Ranks beyond the number of matrices own none. The same on every rank.
std::vector<int> OwnersOf(const model::Registry& registry, int ranks);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_OWNERS_H_
