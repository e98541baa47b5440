#ifndef FILIGREE_WORKER_TRAIN_STORED_STATE_H_
#define FILIGREE_WORKER_TRAIN_STORED_STATE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/config/settings.h"
#include "worker/data/tokenizer.h"
#include "worker/mask/mask_set.h"
#include "worker/model/arena.h"
#include "worker/model/network.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"
#include "worker/train/state.h"

// Between a training state and its checkpoint (worker/checkpoint knows no models, worker/model no files).

namespace filigree::train {

// A view of the state as a checkpoint stores it; valid while the state lives and does not change. The texts that say
// which run it is of are the caller's to add.
checkpoint::State StoredView(const TrainState& state, uint64_t seed);

// The state of a checkpoint: weights, moments, masks, candidates, step and position. FailedPrecondition where it is of
// another model. Where the run's regime is another one than the checkpoint's, `notes` gets what that costs: from exact
// to active every matrix drops to its candidates, back to exact what is no candidate begins without moments. Of several
// ranks each reads the moments that it holds (ownership.h).
struct PlaceInGrid {
  parallel::Grid grid;
  int rank = 0;
};
absl::StatusOr<std::unique_ptr<TrainState>> Restore(const checkpoint::Checkpoint& from, const model::ModelSpec& spec,
                                                    const config::Settings& settings, kernels::ThreadPool& pool,
                                                    std::vector<std::string>& notes, const PlaceInGrid& place = {});

// What eval, generate and activations need: a model with its weights, ready to run.
struct LoadedModel {
  config::Settings settings;  // of the run it comes from
  model::ModelSpec spec;
  int64_t step = 0;
  std::string path;                          // of the checkpoint
  std::optional<data::Tokenizer> tokenizer;  // where the checkpoint holds one
  std::unique_ptr<model::Registry> registry;
  std::unique_ptr<model::Arena> weights;
  std::unique_ptr<mask::MaskSet> masks;
  std::unique_ptr<model::Network> network;
};

// `path`: a run folder (its newest good checkpoint), a checkpoint or an import. Borrows `pool`. `warnings` gets what
// was passed over.
absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const std::string& path, kernels::ThreadPool& pool,
                                                       std::vector<std::string>* warnings);

// Settings and vocabulary of the run a checkpoint is of.
absl::StatusOr<config::Settings> StoredSettings(const checkpoint::Checkpoint& from);
absl::StatusOr<int> StoredVocab(const checkpoint::Checkpoint& from);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_STORED_STATE_H_
