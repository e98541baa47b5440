#ifndef FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_
#define FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/manifest.h"

// The tensors of a verified checkpoint, read from its files when asked for. A hash proves that bytes are those that
// were written, not that they make sense: indices and offsets are checked as they are read.

namespace filigree::checkpoint {

struct DataFile {
  std::string path;
  std::unique_ptr<ReadableFile> file;
  SafetensorsHeader header;
};

// The files of one role, as one: no component is in two of them.
class DataFiles {
 public:
  // DataLoss: a component is in another file already.
  absl::Status Add(DataFile file);

  struct Component {
    const DataFile* in = nullptr;  // null: there is none
    const TensorEntry* entry = nullptr;
  };
  Component Find(const std::string& name) const;

  bool empty() const { return files_.empty(); }
  std::string text() const;  // for messages: the path, or how many there are

 private:
  std::vector<DataFile> files_;
  std::unordered_map<std::string, std::pair<size_t, size_t>> places_;  // by name: the file, and the entry in it
};

// Values and global indices of a tensor that is stored sparse.
struct SparseEntries {
  std::vector<float> values;
  std::vector<int64_t> indices;  // ascending
};

// Weights and selection of a tensor on candidates: one value and one bit a candidate.
struct CandidateWeights {
  kernels::Buffer<float> weight;
  kernels::Buffer<uint64_t> kept;
};

struct StoredTensors {
  DataFiles weights, moments;
  std::map<int, DataFiles> own;  // by rank
  std::vector<ManifestTensor> tensors;

  // Are all components there, with the dtypes and shapes that the manifest implies? DataLoss names the first that is
  // not.
  absl::Status CheckComponents(const ManifestTensor& tensor) const;

  // Dense results; a null pointer is left alone. Without moments in the file zeros are filled in.
  absl::Status ReadWeight(const ManifestTensor& tensor, float* weight, uint64_t* kept) const;
  absl::Status ReadMoment(const ManifestTensor& tensor, const char* suffix, float* moment) const;

  // As they are stored, without a dense copy: memory follows the file, not the shape.
  absl::StatusOr<SparseEntries> ReadSparse(const ManifestTensor& tensor) const;
  absl::StatusOr<std::vector<uint64_t>> ReadBitmap(const ManifestTensor& tensor) const;
  // Of a tensor with candidates. DataLoss where they do not ascend, lie outside, or do not hold the selection.
  absl::StatusOr<kernels::Pattern> ReadPattern(const ManifestTensor& tensor) const;
  absl::StatusOr<CandidateWeights> ReadWeights(const ManifestTensor& tensor,
                                               const kernels::PatternView& candidates) const;
  // Of any tensor; its kept entries are the candidates where it has none.
  absl::StatusOr<CandidateTensor> ReadCandidates(const ManifestTensor& tensor) const;
  // Calls take(first index, values, n) for pieces of a dense component, in order.
  using TakePiece = std::function<void(int64_t, const float*, int64_t)>;
  absl::Status ReadDense(const DataFiles& data, const std::string& component, const TakePiece& take) const;

 private:
  // Of a tensor with candidates, dense; the moment is added to zeros.
  absl::Status ReadCandidateWeight(const ManifestTensor& tensor, float* weight, uint64_t* kept) const;
  absl::Status ReadCandidateMoment(const ManifestTensor& tensor, const char* suffix, float* moment) const;
  absl::StatusOr<CandidateTensor> ReadKeptAsCandidates(const ManifestTensor& tensor) const;
};

// The global index of entries that are asked for in ascending order.
class EntryIndices {
 public:
  explicit EntryIndices(const kernels::PatternView& pattern) : pattern_(pattern) {}
  int64_t operator()(int64_t entry) {
    while (entry >= pattern_.row_offsets[row_ + 1]) ++row_;
    return int64_t{row_} * pattern_.cols + pattern_.col_indices[entry];
  }

 private:
  kernels::PatternView pattern_;
  int row_ = 0;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_
