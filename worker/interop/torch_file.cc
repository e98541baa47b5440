#include "worker/interop/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/hashing.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/interop/pickle_writer.h"
#include "worker/interop/zip_writer.h"

namespace filigree::interop {
namespace {

const ZipEntry* FindEntry(const std::vector<ZipEntry>& entries, const std::string& name) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& e) { return e.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

bool RowMajor(const PickledTensor& tensor) {
  int64_t stride = 1;
  for (size_t d = tensor.shape.size(); d-- > 0; stride *= tensor.shape[d]) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != stride) return false;
  }
  return true;
}

// The elements of a strided view, one after the other.
std::vector<uint8_t> Gather(const PickledTensor& tensor, const uint8_t* first, uint64_t size) {
  std::vector<uint8_t> out(static_cast<uint64_t>(checkpoint::Elements(tensor.shape)) * size);
  std::vector<int64_t> index(tensor.shape.size(), 0);
  for (uint64_t to = 0; to < out.size(); to += size) {
    int64_t from = 0;
    for (size_t d = 0; d < index.size(); ++d) from += index[d] * tensor.strides[d];
    std::memcpy(out.data() + to, first + static_cast<uint64_t>(from) * size, size);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < tensor.shape[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<TorchFile> TorchFile::Open(const std::string& path) {
  TorchFile file;
  auto mapped = checkpoint::MappedFile::Open(path);
  if (!mapped.ok()) return mapped.status();
  file.mapped_ = *std::move(mapped);
  auto entries = ReadZip(file.mapped_.bytes(), path);
  if (!entries.ok()) return entries.status();
  const auto pickle = std::find_if(entries->begin(), entries->end(),
                                   [](const ZipEntry& entry) { return entry.name.ends_with("/data.pkl"); });
  if (pickle == entries->end()) {
    return absl::DataLossError(fmt::format("{} has no data.pkl: torch.save did not write it", path));
  }
  const std::string root = pickle->name.substr(0, pickle->name.size() - std::strlen("data.pkl"));
  const ZipEntry* order = FindEntry(*entries, root + "byteorder");
  if (order != nullptr && std::string(order->data.begin(), order->data.end()) != "little") {
    return absl::DataLossError(fmt::format("{} was written on a big-endian machine", path));
  }
  absl::Status status = CheckCrc(*pickle, path);
  if (!status.ok()) return status;
  auto tensors = ReadStateDictPickle(pickle->data, path);
  if (!tensors.ok()) return tensors.status();
  file.tensors_ = *std::move(tensors);
  for (const PickledTensor& tensor : file.tensors_) {
    const ZipEntry* entry = FindEntry(*entries, root + "data/" + tensor.storage);
    if (entry == nullptr || entry->data.size() / checkpoint::DTypeSize(tensor.dtype) != tensor.storage_elements) {
      return absl::DataLossError(
          fmt::format("{}: the storage of tensor '{}' is missing or has another size", path, tensor.name));
    }
    if (!file.storages_.emplace(tensor.storage, *entry).second) continue;
    status = CheckCrc(*entry, path);
    if (!status.ok()) return status;
  }
  return file;
}

absl::StatusOr<std::vector<float>> TorchFile::ToFloats(const PickledTensor& tensor) const {
  const uint64_t size = checkpoint::DTypeSize(tensor.dtype);
  const uint8_t* first = storages_.at(tensor.storage).data.data() + tensor.offset * size;
  checkpoint::TensorView view{tensor.name, tensor.dtype, tensor.shape, {}};
  std::vector<uint8_t> gathered;
  if (RowMajor(tensor)) {
    view.bytes = {first, static_cast<uint64_t>(checkpoint::Elements(tensor.shape)) * size};
  } else {
    gathered = Gather(tensor, first, size);
    view.bytes = gathered;
  }
  return checkpoint::ToFloats(view);
}

absl::Status WriteTorchFile(checkpoint::WritableFile& file, const std::vector<checkpoint::NamedShape>& tensors,
                            const std::function<absl::Status(size_t, float*)>& read) {
  ZipWriter zip(file);
  const std::string root = "archive/";
  const std::string pickle = PickleStateDict(tensors);
  absl::Status status = zip.Add(root + "data.pkl", pickle);
  if (status.ok()) status = zip.Add(root + "byteorder", "little");
  std::vector<float> values;
  for (size_t i = 0; i < tensors.size() && status.ok(); ++i) {
    values.resize(checkpoint::Elements(tensors[i].shape));
    status = read(i, values.data());
    const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
    if (status.ok()) status = zip.Add(root + "data/" + std::to_string(i), {bytes, values.size() * sizeof(float)});
  }
  if (status.ok()) status = zip.Add(root + "version", "3\n");
  // Readers that cache by content look here: digits that follow from the description of the tensors.
  const std::string id = checkpoint::Xxh3Hex(pickle);
  if (status.ok()) status = zip.Add(root + ".data/serialization_id", id + id.substr(0, 8));
  if (status.ok()) status = zip.Finish();
  return status;
}

}  // namespace filigree::interop
