#ifndef FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_
#define FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/manifest.h"

// The tensors of a verified checkpoint, read from its files when asked for. A hash proves that bytes are those that
// were written, not that they make sense: indices and offsets are checked as they are read.

namespace filigree::checkpoint {

struct DataFile {
  std::string path;
  std::unique_ptr<ReadableFile> file;  // null: the checkpoint has no such file
  SafetensorsHeader header;
};

// Values and global indices of a tensor that is stored sparse.
struct SparseEntries {
  std::vector<float> values;
  std::vector<int64_t> indices;  // ascending
};

struct StoredTensors {
  DataFile weights, moments;
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
  // Calls take(first index, values, n) for pieces of a dense component, in order.
  using TakePiece = std::function<void(int64_t, const float*, int64_t)>;
  absl::Status ReadDense(const DataFile& data, const std::string& component, const TakePiece& take) const;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_STORED_TENSORS_H_
