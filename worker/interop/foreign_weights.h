#ifndef FILIGREE_WORKER_INTEROP_FOREIGN_WEIGHTS_H_
#define FILIGREE_WORKER_INTEROP_FOREIGN_WEIGHTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/interop/released_config.h"
#include "worker/model/registry.h"

namespace filigree::interop {

// One tensor of somebody else's file; `read` may be called while the object lives.
struct ForeignTensor {
  std::string name;  // without the prefix of Hugging Face files
  checkpoint::Shape shape;
  std::function<absl::StatusOr<std::vector<float>>()> read;
};

// Opens final_model.pt or model.safetensors.
absl::StatusOr<std::vector<ForeignTensor>> OpenForeignWeights(const std::string& path, Format format);

// Are these exactly the tensors of the model, and those that released files carry beside them and that change nothing:
// zero positions where the model only would add them, a zero final_logits_bias, causal masks? FailedPrecondition names
// the first that is missing, unknown, of another shape or not zero.
absl::Status CheckForeignTensors(const std::vector<ForeignTensor>& tensors, const model::Registry& registry,
                                 const ReleasedConfig& config, const std::string& path);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_FOREIGN_WEIGHTS_H_
