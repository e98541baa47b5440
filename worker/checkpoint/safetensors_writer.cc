#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "kernels/base/check.h"
#include "worker/checkpoint/safetensors.h"

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kDataAlignment = 64;

// Counts what a source appends, so that one that breaks its promise is found here and not by a reader.
class CountingFile : public WritableFile {
 public:
  explicit CountingFile(WritableFile& file) : file_(file) {}
  absl::Status Append(const void* data, size_t n) override {
    written_ += n;
    return file_.Append(data, n);
  }
  absl::Status Sync() override { return file_.Sync(); }
  absl::Status Close() override { return absl::OkStatus(); }
  uint64_t written() const { return written_; }

 private:
  WritableFile& file_;
  uint64_t written_ = 0;
};

uint64_t Bytes(const TensorSource& tensor) {
  return static_cast<uint64_t>(Elements(tensor.shape)) * DTypeSize(tensor.dtype);
}

// Size and text of the header, padded with spaces.
absl::StatusOr<std::string> EncodeHeader(const std::vector<TensorSource>& tensors,
                                         const std::map<std::string, std::string>& metadata) {
  // Each entry is dumped on its own: the order of the file is ours, not that of a JSON object.
  std::string text = "{";
  uint64_t at = 0;
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata).dump();
    for (const TensorSource& tensor : tensors) {
      if (text.size() > 1) text += ',';
      const uint64_t end = at + Bytes(tensor);
      text += nlohmann::json(tensor.name).dump() + ":" +
              nlohmann::json{{"dtype", DTypeName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}}
                  .dump();
      at = end;
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("names and metadata must be UTF-8: {}", error.what()));
  }
  text += '}';
  const uint64_t padded = (text.size() + 8 + kDataAlignment - 1) / kDataAlignment * kDataAlignment - 8;
  text.append(padded - text.size(), ' ');
  std::string size(8, '\0');
  for (int i = 0; i < 8; ++i) size[i] = static_cast<char>(padded >> (8 * i));
  return size + text;
}

absl::Status WriteTemporary(FileSystem& files, const std::string& path, std::vector<TensorSource> tensors,
                            const std::map<std::string, std::string>& metadata) {
  auto file = files.Create(path);
  if (!file.ok()) return file.status();
  absl::Status status = WriteSafetensors(**file, std::move(tensors), metadata);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = (*file)->Close();
  return status;
}

}  // namespace

absl::Status WriteSafetensors(WritableFile& file, std::vector<TensorSource> tensors,
                              const std::map<std::string, std::string>& metadata) {
  // The order of the reference writer: every tensor is aligned to its element size without padding.
  std::sort(tensors.begin(), tensors.end(), [](const TensorSource& a, const TensorSource& b) {
    return std::make_tuple(DTypeSize(b.dtype), a.name) < std::make_tuple(DTypeSize(a.dtype), b.name);
  });
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool repeated = i > 0 && tensors[i].name == tensors[i - 1].name;
    if (repeated || !SoundTensorName(tensors[i].name)) {
      return absl::InvalidArgumentError(
          fmt::format("tensor {} cannot be written: its name is {}", i,
                      repeated ? "'" + tensors[i].name + "' again" : "not 1 to 256 printable ASCII characters"));
    }
  }
  auto header = EncodeHeader(tensors, metadata);
  if (!header.ok()) return header.status();
  absl::Status status = file.Append(header->data(), header->size());
  for (size_t i = 0; i < tensors.size() && status.ok(); ++i) {
    CountingFile counted(file);
    status = tensors[i].write(counted);
    CHECK(!status.ok() || counted.written() == Bytes(tensors[i]), "tensor {} wrote {} bytes of {}", tensors[i].name,
          counted.written(), Bytes(tensors[i]));
  }
  return status;
}

absl::Status WriteSafetensors(const std::string& path, std::vector<TensorData> tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSource> sources;
  for (TensorData& tensor : tensors) {
    const uint64_t bytes = static_cast<uint64_t>(Elements(tensor.shape)) * DTypeSize(tensor.dtype);
    sources.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape),
                       [data = tensor.data, bytes](WritableFile& file) { return file.Append(data, bytes); }});
  }
  FileSystem& files = RealFileSystem();
  const std::string temporary = path + ".tmp";
  absl::Status status = WriteTemporary(files, temporary, std::move(sources), metadata);
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) files.RemoveFile(temporary).IgnoreError();
  return status;
}

}  // namespace filigree::checkpoint
