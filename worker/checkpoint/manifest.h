#ifndef FILIGREE_WORKER_CHECKPOINT_MANIFEST_H_
#define FILIGREE_WORKER_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"

// manifest.json of a checkpoint (docs/formats/checkpoint.md): what the state is, which files hold it and their hashes.
// Its last value is the hash of all bytes before it and the bytes after it are fixed, so a manifest that was cut or in
// which any bit differs is found out.

namespace filigree::checkpoint {

inline constexpr char kManifestName[] = "manifest.json";
inline constexpr uint64_t kMaxManifestBytes = 64 << 20;

enum class WeightStorage { kDense, kSparse, kCandidates };  // kCandidates: one value a candidate
enum class MaskStorage { kNone, kBitmap, kWithValues };     // of a sparse tensor the stored entries are the selection

struct ManifestTensor {
  std::string name;
  Shape shape;
  WeightStorage weight = WeightStorage::kDense;
  MaskStorage mask = MaskStorage::kNone;
  bool moments = false;
  int64_t kept = 0;
  int64_t candidates = 0;  // 0: the tensor is whole; else moments, and a bitmap, are over the candidates
};

struct ManifestFile {
  std::string role;  // "weights", "moments": several of each where ranks shared the save; "own-N": of rank N alone
  std::string name;  // in the checkpoint's folder
  uint64_t bytes = 0;
  std::string xxh3_128;
};

struct Manifest {
  int64_t step = 0, position = 0;
  uint64_t seed = 0;
  std::vector<ManifestFile> files;
  std::vector<ManifestTensor> tensors;  // by name
  std::map<std::string, std::string> texts;
  std::map<std::string, double> extras;

  std::vector<const ManifestFile*> Files(const std::string& role) const;
};

// The role of the file of what one rank alone has.
std::string OwnRole(int rank);
int RankOfOwnRole(const std::string& role);  // -1: it is none

// InvalidArgument: a text is not UTF-8.
absl::StatusOr<std::string> EncodeManifest(const Manifest& manifest);

// DataLoss: damaged or unsound; FailedPrecondition: a format this program does not know. `path` is for messages.
absl::StatusOr<Manifest> ParseManifest(const std::string& bytes, const std::string& path);

// A name a checkpoint may use for a tensor or a file: [A-Za-z0-9._-]{1,64}, not beginning with a dot.
bool SoundName(const std::string& name);

// Rows and columns under which a tensor of this shape is stored sparse: the last dimension is the column.
struct RowsAndCols {
  int64_t rows = 1, cols = 1;
};
RowsAndCols Matrix(const Shape& shape);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_MANIFEST_H_
