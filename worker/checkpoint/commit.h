#ifndef FILIGREE_WORKER_CHECKPOINT_COMMIT_H_
#define FILIGREE_WORKER_CHECKPOINT_COMMIT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"

// Checkpoints where somebody else says which of them count: a coordinator, whose row is the commit
// (docs/formats/checkpoint.md, "Under a coordinator"). A manifest without such a row is none.

namespace filigree::checkpoint {

// One checkpoint. digest: XXH3-128 over all bytes of its manifest, as 32 hex digits.
struct CommitPoint {
  int64_t generation = 0, step = 0;
  std::string digest;

  bool operator==(const CommitPoint&) const = default;
};

// What the ranks of one generation know of commits. Every rank has one of its own, alike but for `commit`, which only
// the rank that writes manifests calls.
struct Fencing {
  std::string job;                    // its name: generations of one job follow each other
  int64_t generation = 0;             // of these ranks: 1 or more, higher than all before
  std::optional<CommitPoint> resume;  // the last commit, absent: none yet. A save that is committed moves it on
  bool rollback = false;              // go on from `resume` even where ranks hold something newer
  // Called when all files and the manifest are durable, on the thread that saves; may block. OK: the checkpoint
  // counts. FailedPrecondition: it never will, its generation is over: the save ends as IsSuperseded. All else: nobody
  // knows; the save has failed and its files stay until a later one is committed.
  std::function<absl::Status(const CommitPoint&)> commit;
};

// This process belongs to a generation that is over: it must write nothing more and leave.
inline absl::Status Superseded(const std::string& message) { return absl::AbortedError(message); }
inline bool IsSuperseded(const absl::Status& status) { return absl::IsAborted(status); }

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_COMMIT_H_
