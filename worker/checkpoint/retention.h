#ifndef FILIGREE_WORKER_CHECKPOINT_RETENTION_H_
#define FILIGREE_WORKER_CHECKPOINT_RETENTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/commit.h"
#include "worker/checkpoint/file_system.h"

// Which checkpoints of a run stay, and what interrupted saves left behind. Only folders named step-DIGITS and
// step-DIGITS-gDIGITS are touched, and of the latter none of a later generation than the one that tidies up: a process
// that was thought dead removes nothing of its successors'.

namespace filigree::checkpoint {

inline constexpr char kCheckpointsFolder[] = "checkpoints";
inline constexpr char kRunSettings[] = "config.toml";  // beside it, in the folder of every run
// In a folder of a generation: the coordinator has committed it. Its text names the point.
inline constexpr char kCommittedName[] = "committed";

// "step-0000000250", of a generation "step-0000000250-g7".
std::string StepFolderName(int64_t step, int64_t generation = 0);

struct StepFolder {
  int64_t step = 0;
  int64_t generation = 0;  // 0: written without a coordinator
  std::string path;
  bool whole = false;      // has a manifest
  bool committed = false;  // and counts: of a generation, says that it was committed
};

// The step folders of RUN/checkpoints, newest first, of one step the latest generation first. NotFound: there is no
// such folder.
absl::StatusOr<std::vector<StepFolder>> ListSteps(FileSystem& files, const std::string& run_dir);

// Removes folders without a manifest, temporary files and files that a manifest no longer names, of `generation` and
// those before it. What cannot be removed becomes a warning.
void RemoveLeftovers(FileSystem& files, const std::string& run_dir, int64_t generation,
                     std::vector<std::string>& warnings);

// Keeps the checkpoint that was just saved and the newest `keep_last` - 1 before it; removes every other one of its
// generation and those before it, and those of them that were never committed.
void RemoveOld(FileSystem& files, const std::string& run_dir, const CommitPoint& saved, int keep_last,
               std::vector<std::string>& warnings);

// Removes what saves write into a checkpoint's folder (weights*.safetensors, moments*.safetensors, own-*.safetensors,
// manifest.json, committed and their temporary names) but for the names in `wanted`. Other people's files stay.
absl::Status RemoveUnwanted(FileSystem& files, const std::string& folder, const std::vector<std::string>& wanted);

// The mark of a committed folder: "generation 7 step 250 manifest HEX\n".
std::string CommittedText(const CommitPoint& point);
// Does the folder say that this very point was committed? Errors: nobody can tell now.
absl::StatusOr<bool> SaysCommitted(FileSystem& files, const std::string& folder, const CommitPoint& point);
// Durably. Errors as file_system.h.
absl::Status MarkCommitted(FileSystem& files, const std::string& folder, const CommitPoint& point);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_RETENTION_H_
