#ifndef FILIGREE_WORKER_CHECKPOINT_CHECKPOINT_H_
#define FILIGREE_WORKER_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/csr/pattern.h"
#include "worker/checkpoint/commit.h"
#include "worker/checkpoint/file_system.h"
#include "worker/checkpoint/safetensors.h"

// The state of a run on disk (docs/formats/checkpoint.md): RUN/checkpoints/step-0000000250/ with weights.safetensors,
// moments.safetensors and manifest.json.
//
// Commit         Files are written under temporary names, synced and renamed; manifest.json comes last and is the
// commit.
//                A crash at any moment leaves the older checkpoints or the new one, never something between.
// Verification   Every byte of every file is covered by a hash (XXH3-128), the manifest's own bytes too; loading reads
//                and checks all of it before anything is handed out.
// Determinism    The bytes of data files are a function of the state alone; so are their names, and with them the
//                manifest, where one rank saves.

namespace filigree::checkpoint {

// One tensor of a run, borrowed from the model and the optimiser. Row-major float32.
//
//   weight  Elements(shape) values.
//   m, v    first and second moments, or null: none (they load as zeros).
//   kept    which entries the density step kept, as a bitmap of kernels/csr/csr.h: bit i % 64 of word i / 64, unused
//   bits
//           0; null: the tensor is dense, every entry is kept. A selection round-trips bit by bit, kept zeros included.
//   candidates
//           null: the tensor is whole. Else it exists on these positions alone (one at least; the last dimension of the
//           shape is the column): weight, m and v are one value a candidate, kept is a bitmap over the candidates,
//           null: all of them are kept. What is no candidate is 0 and not kept.
//
// Names match [A-Za-z0-9._-]{1,64} and end in none of the component suffixes of the format (.values, .col_indices,
// .row_offsets, .kept).
struct StateTensor {
  std::string name;
  Shape shape;
  const float* weight = nullptr;
  const float* m = nullptr;
  const float* v = nullptr;
  const uint64_t* kept = nullptr;
  const kernels::PatternView* candidates = nullptr;
};

struct State {
  int64_t step = 0;      // optimiser steps done
  int64_t position = 0;  // training sequences consumed
  uint64_t seed = 0;
  std::vector<StateTensor> tensors;
  std::map<std::string, std::string> texts;  // UTF-8; keys in texts.h
  std::map<std::string, double> extras;      // numbers that must come back bit by bit: thresholds of the selection, ...
};

struct SaveResult {
  std::string path;                        // of the checkpoint's folder
  CommitPoint point = {};                  // generation 0: no coordinator
  uint64_t bytes = 0;                      // written
  std::vector<std::string> warnings = {};  // of tidying up: the checkpoint itself is safe
};

// Writes RUN/checkpoints/step-N and then removes leftovers of interrupted saves and all but `keep_last` (>= 1)
// checkpoints: the one just written always stays, then the newest before it; later steps (an abandoned branch) go
// first. `run_dir` must exist. On failure older checkpoints are untouched and what this save had written is removed
// again. InvalidArgument: a name or text the format cannot hold. ResourceExhausted: the disk is full. Else as
// file_system.h.
//
// With fencing the folder is of its generation, RUN/checkpoints/step-N-gG. It counts, and only then are older ones
// removed, when fencing->commit has said OK; what was written stays where it has not. Folders of later generations are
// left alone always. IsSuperseded: the commit was refused, this process is a late writer.
absl::StatusOr<SaveResult> Save(FileSystem& files, const std::string& run_dir, const State& state, int keep_last,
                                const Fencing* fencing = nullptr);

// The same into a folder of its own, which is created if need be (its parent must exist).
absl::StatusOr<SaveResult> SaveFolder(FileSystem& files, const std::string& folder, const State& state);

// What a checkpoint says about one of its tensors.
struct StoredTensor {
  std::string name;
  Shape shape;
  bool sparse = false;    // stored as values and indices, or on candidates
  bool has_mask = false;  // the run had a selection for it
  bool has_moments = false;
  int64_t kept = 0;        // entries the selection kept; all of them without a mask
  int64_t candidates = 0;  // positions on which the tensor exists; 0: it is whole
};

// A tensor on candidates, in memory of its own: one value an entry of `pattern`, `kept` a bitmap over the entries.
struct CandidateTensor {
  kernels::Pattern pattern;
  kernels::Buffer<float> weight, m, v;
  kernels::Buffer<uint64_t> kept;
};

struct NamedShape {
  std::string name;
  Shape shape;
};

struct StoredTensors;

// A verified checkpoint. Tensors are read from its files when asked for. Threads: const members from several at once.
class Checkpoint {
 public:
  // NotFound: no manifest. DataLoss: a byte is not what was written, or the format is broken: the message names the
  // file. FailedPrecondition: written in a newer format.
  static absl::StatusOr<Checkpoint> Load(FileSystem& files, const std::string& folder);

  const std::string& path() const { return path_; }
  int64_t step() const { return step_; }
  int64_t position() const { return position_; }
  const std::string& digest() const { return digest_; }  // of the manifest, as CommitPoint's
  uint64_t seed() const { return seed_; }
  const std::map<std::string, std::string>& texts() const { return texts_; }
  const std::map<std::string, double>& extras() const { return extras_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // by name
  const StoredTensor* Find(const std::string& name) const;               // null: no such tensor
  // Text by key; NotFound names key and checkpoint.
  absl::StatusOr<std::string> Text(const std::string& key) const;

  // FailedPrecondition where the tensors are not exactly these: names what is missing, unknown or of another shape,
  // with both shapes. For "is this a checkpoint of my model?", before anything is overwritten.
  absl::Status CheckModel(const std::vector<NamedShape>& expected) const;

  // Fills the arrays that are not null: weight, m, v (Elements(shape) floats each; absent moments are zeros) and kept
  // (ceil(Elements / 64) words; without a mask every entry's bit is set). FailedPrecondition: no such tensor, or shape
  // differs. On a read error the arrays hold anything.
  absl::Status CopyInto(const std::string& name, const Shape& shape, float* weight, float* m, float* v,
                        uint64_t* kept) const;

  // The tensor on its candidates, with memory that follows the file and never the shape. Of a tensor that was stored
  // whole the kept entries are the candidates, all kept, with their weights and moments; what else it held is left out.
  // Errors as CopyInto; FailedPrecondition too where the entries do not fit 16-bit indices.
  absl::StatusOr<CandidateTensor> CopyCandidates(const std::string& name, const Shape& shape) const;

  // Ranks that stored something of their own (parts.h), ascending, and one array of it. FailedPrecondition: that rank
  // has no such array, or one of another size.
  std::vector<int> OwnRanks() const;
  absl::Status CopyOwn(int rank, const std::string& name, std::span<float> to) const;

  // For this room: the tensors as they are stored, in the order of tensors().
  const StoredTensors& stored() const { return *stored_; }

 private:
  // Index of a tensor that must have this shape.
  absl::StatusOr<size_t> Require(const std::string& name, const Shape& shape) const;

  std::string path_, digest_;
  int64_t step_ = 0, position_ = 0;
  uint64_t seed_ = 0;
  std::map<std::string, std::string> texts_;
  std::map<std::string, double> extras_;
  std::vector<StoredTensor> tensors_;
  std::shared_ptr<const StoredTensors> stored_;
};

// The newest good checkpoint of a run: the highest step, of two generations' the later one's. Damaged and partial ones,
// and those of a generation that were never committed, are passed over, each with a line in `warnings` (may be null).
// NotFound: the run has none, or none but what an interrupted save left; DataLoss: it has some, but none is good, or
// more than one has lost its manifest. Other errors: one that may be good cannot be read now; as saves to come would
// remove what was passed over, nothing is. most_step: those of later steps are left alone.
absl::StatusOr<Checkpoint> LoadNewest(FileSystem& files, const std::string& run_dir, std::vector<std::string>* warnings,
                                      int64_t most_step = INT64_MAX);

// The checkpoint of a commit, and no other that is newer. Where it is gone or damaged: the newest committed one before
// it, with lines in `warnings` (may be null) that say so. DataLoss: there is none that is good; names the commit. Other
// errors: as above.
absl::StatusOr<Checkpoint> LoadCommitted(FileSystem& files, const std::string& run_dir, const CommitPoint& point,
                                         std::vector<std::string>* warnings, int64_t most_step = INT64_MAX);

// `path` is a checkpoint folder (or an import) or a run folder, of which the newest good checkpoint is taken.
absl::StatusOr<Checkpoint> LoadAny(FileSystem& files, const std::string& path, std::vector<std::string>* warnings);

// SHA-256 in hex over what the state means: per tensor, in the order of names, its name and shape and (global index,
// value bits) of weights, moments and selection in ascending order of index, and its candidates if it has any; then
// step, position, seed (docs/formats/checkpoint.md has the bytes). How and where the state is stored does not show.
// `threads` >= 1.
std::string StateSha256(const State& state, int threads);
absl::StatusOr<std::string> StateSha256(const Checkpoint& checkpoint, int threads);

// The same digest with what is counted on the way.
struct TensorSummary {
  std::string name;
  int64_t nonzeros = 0;  // weights that are not 0
  std::string sha256;    // of the tensor's weights, moments, selection and candidates
};
struct StateSummary {
  std::string state_sha256;
  std::vector<TensorSummary> tensors;  // by name
};
absl::StatusOr<StateSummary> Summarise(const Checkpoint& checkpoint, int threads);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_CHECKPOINT_H_
