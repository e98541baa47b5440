#ifndef FILIGREE_WORKER_RUN_START_FROM_H_
#define FILIGREE_WORKER_RUN_START_FROM_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/data/corpus.h"
#include "worker/model/spec.h"
#include "worker/train/state.h"

namespace filigree::train {

// The weights of another model (settings.init.from: an import, a checkpoint or a run folder) as the beginning of a run:
// its moments, masks and steps stay behind. FailedPrecondition where the tensors are not the same ones; names the
// settings that make them differ. `notes` gets where the weights come from, and what else about that model differs from
// this run: settings that show in no shape, the tokenizer.
//
// InvalidArgument: the candidates cannot be chosen within `available` bytes.
//
// In the active regime candidates and mask of the first step are the largest of those weights; where they are fewer
// than the candidates wanted, the rest is drawn at random.
absl::StatusOr<std::unique_ptr<TrainState>> StartFrom(const config::Settings& settings, const data::Corpus& corpus,
                                                      const model::ModelSpec& spec, kernels::ThreadPool& pool,
                                                      int64_t available, std::vector<std::string>& notes);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_START_FROM_H_
