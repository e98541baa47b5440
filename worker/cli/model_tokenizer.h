#ifndef FILIGREE_WORKER_CLI_MODEL_TOKENIZER_H_
#define FILIGREE_WORKER_CLI_MODEL_TOKENIZER_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/data/tokenizer.h"
#include "worker/train/stored_state.h"

namespace filigree::cli {

// The tokenizer to use with a model: that of `data_dir` where it is given, else the one in the checkpoint, else that of
// the run's corpus. FailedPrecondition where its vocabulary is not the model's, or where it is another than the
// checkpoint's own.
absl::StatusOr<data::Tokenizer> TokenizerOf(const train::LoadedModel& model, const std::string& data_dir);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_MODEL_TOKENIZER_H_
