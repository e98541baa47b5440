#ifndef FILIGREE_WORKER_TRAIN_START_FROM_H_
#define FILIGREE_WORKER_TRAIN_START_FROM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/config/settings.h"
#include "worker/data/corpus.h"
#include "worker/train/state.h"

namespace filigree::train {

// The weights of another model (settings.init.from: an import, a checkpoint or a run folder) as the beginning of a run:
// its moments, masks and steps stay behind. FailedPrecondition where the tensors are not the same ones; names the
// settings that make them differ. `notes` gets where the weights come from, and what else about that model differs from
// this run: settings that show in no shape, the tokenizer.
absl::Status StartFrom(const config::Settings& settings, const data::Corpus& corpus, TrainState& state,
                       std::vector<std::string>& notes);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_START_FROM_H_
