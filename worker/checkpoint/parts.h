#ifndef FILIGREE_WORKER_CHECKPOINT_PARTS_H_
#define FILIGREE_WORKER_CHECKPOINT_PARTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/commit.h"
#include "worker/checkpoint/file_system.h"

// One checkpoint written by several ranks on a file system that all of them see: each writes files of its own, the
// manifest that names them all is the commit. Any number of ranks reads it.
//
//   first rank   BeginSave     makes the folder
//   every rank   WritePart     its tensors, and what it alone has; the returned text goes to the first rank
//   first rank   CommitSave    or, where any rank failed, AbandonSave
//
// Until CommitSave nothing counts: what an interrupted save leaves is removed by the next. A rank that was asleep
// inside a save and wakes up when others have gone on may still write its files: their names are those of its save
// alone (SaveMark::token), so that it can spoil nobody else's.

namespace filigree::checkpoint {

// What tells a save from others of the same step.
struct SaveMark {
  int64_t generation = 0;  // of the ranks (Fencing), which have a folder of their own; 0: no coordinator
  std::string token;       // part of the names of its files; empty: names that are free
};
// One that no other save has: random.
std::string NewSaveToken();

struct OpenSave {
  std::string folder;
  std::string token;   // as SaveMark's
  bool fresh = false;  // the folder is new
};

// `warnings`: of tidying up what earlier saves left. Errors as file_system.h.
absl::StatusOr<OpenSave> BeginSave(FileSystem& files, const std::string& run_dir, int64_t step,
                                   std::vector<std::string>& warnings, const SaveMark& mark = {});

// Something of one rank alone, read back by the same rank of as many: what it holds back of its gradients.
struct OwnTensor {
  std::string name;
  std::span<const float> values;
};

// part: 0 is the first rank's. state: its tensors are those that this part stores, any of the whole's and none twice
// in all parts. Returns what CommitSave wants to know of it.
absl::StatusOr<std::string> WritePart(FileSystem& files, const OpenSave& save, int part, const State& state,
                                      std::span<const OwnTensor> own);

// state: all but its tensors. parts: what WritePart returned, of every part in order. FailedPrecondition: a file of
// another rank is not to be seen here. What is left of older checkpoints but for keep_last goes afterwards (as Save).
// fencing: of the generation that the save was begun with; null: no coordinator, the manifest is the commit.
absl::StatusOr<SaveResult> CommitSave(FileSystem& files, const std::string& run_dir, const OpenSave& save,
                                      const State& state, std::span<const std::string> parts, int keep_last,
                                      const Fencing* fencing = nullptr);

// Removes what the parts have written.
void AbandonSave(FileSystem& files, const OpenSave& save);

// Which part stores each tensor of a state: bytes about even. owners: of every tensor the part that alone has all of
// it, -1: all do; empty: all have everything.
std::vector<int> ShareTensors(const State& state, int parts, std::span<const int> owners = {});

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_PARTS_H_
