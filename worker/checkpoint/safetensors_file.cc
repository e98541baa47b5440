#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/float_bits.h"
#include "worker/checkpoint/safetensors.h"

namespace filigree::checkpoint {
namespace {

// The header parser reads through this, so that file and mapping are checked by the same lines.
class MappedReader : public ReadableFile {
 public:
  explicit MappedReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, void* to, size_t n) const override {
    if (offset > size() || n > size() - offset) return absl::DataLossError("the file ends early");
    if (n > 0) std::memcpy(to, bytes_.data() + offset, n);
    return absl::OkStatus();
  }

 private:
  std::span<const uint8_t> bytes_;
};

template <typename From, typename To, typename Convert>
std::vector<To> ConvertAll(std::span<const uint8_t> bytes, Convert convert) {
  std::vector<To> out(bytes.size() / sizeof(From));
  for (size_t i = 0; i < out.size(); ++i) {
    From from;
    std::memcpy(&from, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = convert(from);
  }
  return out;
}

template <typename From>
std::vector<int64_t> Widen(std::span<const uint8_t> bytes) {
  return ConvertAll<From, int64_t>(bytes, [](From x) { return static_cast<int64_t>(x); });
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  auto mapped = MappedFile::Open(path);
  if (!mapped.ok()) return mapped.status();
  auto header = ReadSafetensorsHeader(MappedReader(mapped->bytes()), path);
  if (!header.ok()) return header.status();
  SafetensorsFile file;
  file.mapped_ = *std::move(mapped);
  file.metadata_ = std::move(header->metadata);
  for (TensorEntry& entry : header->tensors) {
    file.tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                             file.mapped_.bytes().subspan(entry.begin, entry.end - entry.begin)});
  }
  return file;
}

const TensorView* SafetensorsFile::Find(const std::string& name) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorView& t) { return t.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

absl::StatusOr<std::vector<float>> ToFloats(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return ConvertAll<float, float>(tensor.bytes, [](float x) { return x; });
    case DType::kF64:
      return ConvertAll<double, float>(tensor.bytes, [](double x) { return static_cast<float>(x); });
    case DType::kF16:
      return ConvertAll<uint16_t, float>(tensor.bytes, FloatFromHalf);
    case DType::kBF16:
      return ConvertAll<uint16_t, float>(tensor.bytes, FloatFromBfloat16);
    default:
      return absl::InvalidArgumentError(
          fmt::format("tensor '{}' is {}, a floating-point type was expected", tensor.name, DTypeName(tensor.dtype)));
  }
}

absl::StatusOr<std::vector<int64_t>> ToInts(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kBool:
    case DType::kU8:
      return Widen<uint8_t>(tensor.bytes);
    case DType::kI8:
      return Widen<int8_t>(tensor.bytes);
    case DType::kU16:
      return Widen<uint16_t>(tensor.bytes);
    case DType::kI16:
      return Widen<int16_t>(tensor.bytes);
    case DType::kU32:
      return Widen<uint32_t>(tensor.bytes);
    case DType::kI32:
      return Widen<int32_t>(tensor.bytes);
    case DType::kI64:
      return Widen<int64_t>(tensor.bytes);
    case DType::kU64: {
      auto wide = Widen<uint64_t>(tensor.bytes);
      if (std::all_of(wide.begin(), wide.end(), [](int64_t x) { return x >= 0; })) return wide;
      return absl::InvalidArgumentError(fmt::format("tensor '{}' holds numbers beyond int64", tensor.name));
    }
    default:
      return absl::InvalidArgumentError(
          fmt::format("tensor '{}' is {}, an integer type was expected", tensor.name, DTypeName(tensor.dtype)));
  }
}

}  // namespace filigree::checkpoint
