#ifndef FILIGREE_WORKER_CHECKPOINT_SAFETENSORS_H_
#define FILIGREE_WORKER_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/file_system.h"
#include "worker/checkpoint/mapped_file.h"

// Files of named tensors (docs/formats/safetensors.md): 8 bytes little-endian header size, a JSON header, then the
// tensors' bytes, row-major and little-endian, one after the other without gaps.
//
// Reading trusts nothing: the header is at most kMaxHeaderBytes and flat, every size is multiplied with care, tensors
// must fill the data part exactly, in order, without holes or overlap; names are 1 to 256 printable ASCII characters
// and unique. Anything else is DataLoss naming file and tensor.

namespace filigree::checkpoint {

inline constexpr uint64_t kMaxHeaderBytes = 16 << 20;

enum class DType { kBool, kU8, kI8, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };
const char* DTypeName(DType dtype);  // as in the header: "F32"
uint64_t DTypeSize(DType dtype);     // bytes an element

using Shape = std::vector<int64_t>;
int64_t Elements(const Shape& shape);       // product; of a shape known to be sound
std::string ShapeText(const Shape& shape);  // "[3, 4]"

// Where one tensor lies: bytes [begin, end) of the file.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;

  const TensorEntry* Find(const std::string& name) const;  // null: no such tensor
};

// `json` is the header text, the data part begins at `data_begin` of a file of `file_size` bytes; `path` is for
// messages.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::string& json, uint64_t data_begin,
                                                         uint64_t file_size, const std::string& path);
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const ReadableFile& file, const std::string& path);

// A tensor of an open file; bytes may lie unaligned.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const uint8_t> bytes;
};

// A file mapped into memory. Views live as long as the file object; the file must not shrink meanwhile.
// Movable; reading from several threads is fine.
class SafetensorsFile {
 public:
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in the order of their bytes
  const TensorView* Find(const std::string& name) const;               // null: no such tensor
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile mapped_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Elements of a floating-point tensor (F16, BF16, F32, F64) as float, of an integer tensor as int64; F64 is rounded.
// InvalidArgument names the tensor where the dtype is of the other kind (or U64 beyond int64).
absl::StatusOr<std::vector<float>> ToFloats(const TensorView& tensor);
absl::StatusOr<std::vector<int64_t>> ToInts(const TensorView& tensor);

// A tensor to be written: `data` holds Elements(shape) * DTypeSize(dtype) bytes.
struct TensorData {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  const void* data = nullptr;
};

// 1 to 256 printable ASCII characters?
bool SoundTensorName(const std::string& name);

// Writes PATH.tmp, syncs it and renames it to PATH. Tensors may come in any order; in the file they are sorted by
// element size (large first) and name, and the data part starts at a multiple of 64 bytes.
// InvalidArgument: an unsound or repeated name, metadata that is not UTF-8.
absl::Status WriteSafetensors(const std::string& path, std::vector<TensorData> tensors,
                              const std::map<std::string, std::string>& metadata = {});

// The same for tensors that are produced while they are written: `write` appends exactly the bytes that dtype and shape
// promise (CHECKed) to the file it is given.
struct TensorSource {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::function<absl::Status(WritableFile&)> write;
};
absl::Status WriteSafetensors(WritableFile& file, std::vector<TensorSource> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_SAFETENSORS_H_
