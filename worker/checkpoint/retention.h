#ifndef FILIGREE_WORKER_CHECKPOINT_RETENTION_H_
#define FILIGREE_WORKER_CHECKPOINT_RETENTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/file_system.h"

// Which checkpoints of a run stay, and what interrupted saves left behind. Only folders named step-DIGITS are touched.

namespace filigree::checkpoint {

inline constexpr char kCheckpointsFolder[] = "checkpoints";
std::string StepFolderName(int64_t step);  // "step-0000000250"

struct StepFolder {
  int64_t step = 0;
  std::string path;
  bool committed = false;  // has a manifest
};

// The step folders of RUN/checkpoints, newest first. NotFound: there is no such folder.
absl::StatusOr<std::vector<StepFolder>> ListSteps(FileSystem& files, const std::string& run_dir);

// Removes folders without a manifest, temporary files and files that a manifest no longer names. What cannot be removed
// becomes a warning.
void RemoveLeftovers(FileSystem& files, const std::string& run_dir, std::vector<std::string>& warnings);

// Keeps the checkpoint of step `saved` and the newest `keep_last` - 1 before it; removes every other one.
void RemoveOld(FileSystem& files, const std::string& run_dir, int64_t saved, int keep_last,
               std::vector<std::string>& warnings);

// Removes what saves write into a checkpoint's folder (weights*.safetensors, moments*.safetensors, manifest.json and
// their temporary names) but for the names in `wanted`. Other people's files stay.
absl::Status RemoveUnwanted(FileSystem& files, const std::string& folder, const std::vector<std::string>& wanted);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_RETENTION_H_
