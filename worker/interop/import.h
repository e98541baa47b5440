#ifndef FILIGREE_WORKER_INTEROP_IMPORT_H_
#define FILIGREE_WORKER_INTEROP_IMPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/interop/released_config.h"

namespace filigree::interop {

struct ImportResult {
  Format format = Format::kOpenAi;
  int64_t tensors = 0, elements = 0, nonzeros = 0;
  std::vector<std::string> notes;  // what was left out or is worth knowing
};

// Reads a folder with beeg_config.json and final_model.pt, or with config.json and model.safetensors, and writes it to
// `folder` as a checkpoint of step 0 without moments, which init.from, eval, generate and inspect take. Weights of 16
// bits become float32. In matrices that the density step would prune, the nonzero entries are the selection. A
// tokenizer beside the weights comes along where it is of our form and of the model's vocabulary.
//
// `folder` must not exist, or be empty. NotFound: no such files. DataLoss: damaged, or not a model. InvalidArgument:
// the model has an option this program does not have, or a tensor it does not know (named). AlreadyExists: `folder`
// holds something.
absl::StatusOr<ImportResult> ImportModel(const std::string& source, const std::string& folder);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_IMPORT_H_
