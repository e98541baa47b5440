#ifndef FILIGREE_WORKER_CHECKPOINT_COMPONENTS_H_
#define FILIGREE_WORKER_CHECKPOINT_COMPONENTS_H_

#include <fmt/format.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/stored_tensors.h"

// Whole components of a data file; that they are there, with dtype and shape, was checked when the checkpoint was
// loaded.

namespace filigree::checkpoint {

template <typename T>
absl::Status ReadAll(const DataFiles& data, const std::string& name, T* to) {
  const auto [in, entry] = data.Find(name);
  return in->file->ReadAt(entry->begin, to, entry->end - entry->begin);
}

template <typename T>
absl::StatusOr<std::vector<T>> ReadAll(const DataFiles& data, const std::string& name) {
  const TensorEntry* entry = data.Find(name).entry;
  std::vector<T> all((entry->end - entry->begin) / sizeof(T));
  absl::Status status = ReadAll(data, name, all.data());
  if (!status.ok()) return status;
  return all;
}

inline absl::Status Unsound(const DataFiles& data, const ManifestTensor& tensor, const char* what) {
  return absl::DataLossError(fmt::format("{}: tensor {}: {}", data.text(), tensor.name, what));
}

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_COMPONENTS_H_
