#ifndef FILIGREE_WORKER_INTEROP_TORCH_FILE_H_
#define FILIGREE_WORKER_INTEROP_TORCH_FILE_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/mapped_file.h"
#include "worker/interop/pickle_reader.h"
#include "worker/interop/zip_reader.h"

// Files of torch.save(state_dict): a zip of stored entries ROOT/data.pkl, ROOT/data/KEY, ROOT/byteorder, ROOT/version.

namespace filigree::interop {

// A file open for reading; nothing in it is executed. Every byte that is used has been checked against its CRC.
class TorchFile {
 public:
  // DataLoss: damaged, or something a state dict never holds. Else as opening the file failed.
  static absl::StatusOr<TorchFile> Open(const std::string& path);

  const std::vector<PickledTensor>& tensors() const { return tensors_; }
  // The elements of a tensor of this file, row-major, as float. InvalidArgument: not a floating-point tensor.
  absl::StatusOr<std::vector<float>> ToFloats(const PickledTensor& tensor) const;

 private:
  checkpoint::MappedFile mapped_;
  std::vector<PickledTensor> tensors_;
  std::map<std::string, ZipEntry> storages_;  // by key
};

// Writes such a file with root `archive`, float32, every tensor in a storage of its own, in the given order.
// `read(i, values)` fills in tensor i, Elements(shape) values; one is held in memory at a time.
absl::Status WriteTorchFile(checkpoint::WritableFile& file, const std::vector<checkpoint::NamedShape>& tensors,
                            const std::function<absl::Status(size_t, float*)>& read);

}  // namespace filigree::interop

#endif  // FILIGREE_WORKER_INTEROP_TORCH_FILE_H_
