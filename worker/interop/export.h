#ifndef FILIGREE_WORKER_INTEROP_EXPORT_H_
#define FILIGREE_WORKER_INTEROP_EXPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/interop/released_config.h"

namespace filigree::interop {

// Writes a checkpoint as others read it (docs/formats/released-models.md) into `folder`, which is created if need be:
//
//   openai  beeg_config.json and final_model.pt, which the released load_model reads
//   hf      config.json, generation_config.json, model.safetensors, tokenizer_config.json
//   both    tokenizer.json where the checkpoint holds a tokenizer; openai also encoder.json and vocab.bpe
//
// The weights are exactly those of the checkpoint, float32, dense, under the released names; models without positions
// get a table of zeros, all get a final_logits_bias of zeros. Files of these names in `folder` are replaced one by one.
// Returns the files written. FailedPrecondition: the checkpoint's tensors are not those of its own model.
absl::StatusOr<std::vector<std::string>> ExportCheckpoint(const checkpoint::Checkpoint& checkpoint, Format format,
                                                          const std::string& folder);

// Names and shapes of the released state dict for a model, in the order in which it is written. Hugging Face names
// begin with "circuit_model.".
struct ReleasedTensor {
  std::string name;  // in the file
  std::string ours;  // in a checkpoint; empty: zeros
  checkpoint::Shape shape;
};
std::vector<ReleasedTensor> ReleasedTensors(const model::ModelSpec& spec, Format format);

inline constexpr char kHuggingFacePrefix[] = "circuit_model.";

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_EXPORT_H_
