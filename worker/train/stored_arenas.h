#ifndef FILIGREE_WORKER_TRAIN_STORED_ARENAS_H_
#define FILIGREE_WORKER_TRAIN_STORED_ARENAS_H_

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/config/settings.h"
#include "worker/mask/mask_set.h"
#include "worker/model/arena.h"

// The tensors of a checkpoint, brought into arenas: some whole, some on candidates. Memory follows what is stored,
// never the shapes of tensors that are taken on candidates.

namespace filigree::train {

struct StoredArenas {
  std::shared_ptr<model::Layout> layout;
  std::vector<std::optional<checkpoint::CandidateTensor>> sets;  // one a tensor; none: whole
};

// Reads the sets of the tensors that `on_candidates` picks; matrices only. FailedPrecondition where the checkpoint is
// of another model.
absl::StatusOr<StoredArenas> ReadSets(
    const checkpoint::Checkpoint& from, const model::Registry& registry,
    const std::function<bool(const model::TensorInfo&, const checkpoint::StoredTensor&)>& on_candidates);

// From exact to active: sets of the matrices that the checkpoint holds whole and the run does not, the mask and the
// best others by u, as a refresh of the checkpoint's step chooses them. One matrix at a time is whole in memory.
absl::Status NarrowSets(const checkpoint::Checkpoint& from, const model::Registry& registry,
                        const config::Settings& settings, kernels::ThreadPool& pool, StoredArenas& stored);

// Fills arenas of that layout (m, v, masks: or null). wants_moments: of which tensors; null: of all.
absl::Status Fill(const checkpoint::Checkpoint& from, const model::Registry& registry, const StoredArenas& stored,
                  model::Arena& weights, model::Arena* all_m, model::Arena* all_v, mask::MaskSet* masks,
                  const std::function<bool(int tensor)>& wants_moments = nullptr);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_STORED_ARENAS_H_
