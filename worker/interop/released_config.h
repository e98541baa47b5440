#ifndef FILIGREE_WORKER_INTEROP_RELEASED_CONFIG_H_
#define FILIGREE_WORKER_INTEROP_RELEASED_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/config/settings.h"
#include "worker/model/spec.h"

// The configuration of the released models (docs/formats/released-models.md) <-> ours.

namespace filigree::interop {

enum class Format { kOpenAi, kHuggingFace };
// File names of a format's folder.
const char* ConfigName(Format format);   // beeg_config.json, config.json
const char* WeightsName(Format format);  // final_model.pt, model.safetensors

// beeg_config.json: exactly keys that the released GPTConfig knows. For Hugging Face the same keys and those that
// transformers expects.
std::string FormatReleasedConfig(const model::ModelSpec& spec, Format format);

struct ReleasedConfig {
  config::ModelSettings model;
  int vocab = 0;
  // The model adds a table of positions to the embedding (or is ready to): it can be ignored only while it is zero.
  bool adds_positions = false;
  std::vector<std::string> notes;  // what was ignored, for people
};

// FailedPrecondition: an option this program does not have, by name; DataLoss: not JSON, or a value of the wrong type.
// Keys that published files carry beside those of GPTConfig are ignored.
absl::StatusOr<ReleasedConfig> ParseReleasedConfig(const std::string& text, Format format, const std::string& path);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_RELEASED_CONFIG_H_
