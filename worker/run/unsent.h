#ifndef FILIGREE_WORKER_RUN_UNSENT_H_
#define FILIGREE_WORKER_RUN_UNSENT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/parts.h"
#include "worker/exchange/residual.h"
#include "worker/model/registry.h"
#include "worker/parallel/grid.h"

// What ranks have not sent yet of their gradients, in checkpoints: every rank's own, and the grid they were on.
//
// The same grid goes on with it bit by bit. With another number of data-parallel ranks, two at least, the first of each
// part of the model takes over all of it, so that nothing is lost; on one, with another tensor size or in another
// regime it is dropped. Both are noted.

namespace filigree::train {

// "2x1": data x tensor, as a text of the checkpoint.
std::string GridText(const parallel::Grid& grid);

// Borrowed until the residual changes. registry: of the part of the model it is of.
std::vector<checkpoint::OwnTensor> UnsentTensors(exchange::Residual& residual, const model::Registry& registry);

// residual: null where this run holds nothing back. notes: the first rank's. Errors: those of reading.
absl::Status RestoreUnsent(const checkpoint::Checkpoint& from, const parallel::Grid& grid, int rank,
                           const model::Registry& registry, exchange::Residual* residual,
                           std::vector<std::string>& notes);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_UNSENT_H_
