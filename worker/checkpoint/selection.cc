#include "worker/checkpoint/selection.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <set>
#include <vector>

namespace filigree::checkpoint {
namespace {

constexpr std::array<const char*, 4> kSuffixes = {".values", ".col_indices", ".row_offsets", ".kept"};

// Appends numbers through a small buffer, so that a file sees few writes.
template <typename T>
class NumberWriter {
 public:
  explicit NumberWriter(WritableFile& file) : file_(file) { buffer_.reserve(kNumbers); }
  void Add(T x) {
    buffer_.push_back(x);
    if (buffer_.size() == kNumbers) Flush();
  }
  absl::Status Finish() {
    Flush();
    return status_;
  }

 private:
  static constexpr size_t kNumbers = (64 << 10) / sizeof(T);
  void Flush() {
    if (status_.ok()) status_ = file_.Append(buffer_.data(), buffer_.size() * sizeof(T));
    buffer_.clear();
  }
  WritableFile& file_;
  std::vector<T> buffer_;
  absl::Status status_;
};

absl::Status WriteValues(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<float> out(file);
  ForEachKept(tensor.kept, Elements(tensor.shape), [&](int64_t i) { out.Add(tensor.weight[i]); });
  return out.Finish();
}

absl::Status WriteColIndices(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<int32_t> out(file);
  const int64_t cols = Matrix(tensor.shape).cols;
  int64_t row_begin = 0;
  ForEachKept(tensor.kept, Elements(tensor.shape), [&](int64_t i) {
    while (i >= row_begin + cols) row_begin += cols;
    out.Add(static_cast<int32_t>(i - row_begin));
  });
  return out.Finish();
}

absl::Status WriteRowOffsets(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<int32_t> out(file);
  const auto [rows, cols] = Matrix(tensor.shape);
  int64_t row = 0;
  int32_t entries = 0;
  out.Add(0);
  ForEachKept(tensor.kept, Elements(tensor.shape), [&, cols = cols](int64_t i) {
    for (; i >= (row + 1) * cols; ++row) out.Add(entries);
    ++entries;
  });
  for (; row < rows; ++row) out.Add(entries);
  return out.Finish();
}

// Is every entry outside the selection +0.0, bit by bit?
bool ZeroElsewhere(const float* weight, const uint64_t* kept, int64_t elements) {
  uint64_t stray = 0;
  for (int64_t begin = 0; begin < elements; begin += 64) {
    const int64_t n = std::min<int64_t>(64, elements - begin);
    uint64_t nonzero = 0;
    for (int64_t i = 0; i < n; ++i) {
      nonzero |= static_cast<uint64_t>(std::bit_cast<uint32_t>(weight[begin + i]) != 0) << i;
    }
    stray |= nonzero & ~kept[begin / 64];
  }
  return stray == 0;
}

std::string CheckTensor(const StateTensor& tensor) {
  if (!SoundName(tensor.name)) return "has a name that is not [A-Za-z0-9._-]{1,64}";
  for (const char* suffix : kSuffixes) {
    if (tensor.name.ends_with(suffix)) return fmt::format("ends in '{}', which the format uses itself", suffix);
  }
  int64_t elements = 1;
  for (const int64_t dim : tensor.shape) {
    if (dim < 1 || __builtin_mul_overflow(elements, dim, &elements) || elements > INT64_MAX / 8) {
      return fmt::format("has the impossible shape {}", ShapeText(tensor.shape));
    }
  }
  if (tensor.weight == nullptr) return "has no weights";
  if ((tensor.m == nullptr) != (tensor.v == nullptr)) return "has one moment without the other";
  if (tensor.kept != nullptr && elements % 64 != 0 && tensor.kept[elements / 64] >> (elements % 64) != 0) {
    return "has bits behind the end of its selection";
  }
  return "";
}

}  // namespace

int64_t CountKept(const uint64_t* kept, int64_t elements) {
  int64_t count = 0;
  for (int64_t word = 0; word < BitmapWords(elements); ++word) count += std::popcount(kept[word]);
  return count;
}

ManifestTensor ChooseStorage(const StateTensor& tensor) {
  const int64_t elements = Elements(tensor.shape);
  ManifestTensor storage{tensor.name, tensor.shape};
  storage.moments = tensor.m != nullptr;
  storage.kept = elements;
  if (tensor.kept == nullptr) return storage;
  storage.kept = CountKept(tensor.kept, elements);
  storage.mask = MaskStorage::kBitmap;
  const auto [rows, cols] = Matrix(tensor.shape);
  const int64_t sparse_bytes = 8 * storage.kept + 4 * (rows + 1), dense_bytes = 4 * elements + (elements + 7) / 8;
  const bool fits = rows < INT32_MAX && cols <= INT32_MAX && storage.kept <= INT32_MAX;
  if (fits && sparse_bytes < dense_bytes && ZeroElsewhere(tensor.weight, tensor.kept, elements)) {
    storage.weight = WeightStorage::kSparse;
    storage.mask = MaskStorage::kWithValues;
  }
  return storage;
}

std::vector<TensorSource> WeightSources(const StateTensor& tensor, const ManifestTensor& storage) {
  const auto elements = static_cast<uint64_t>(Elements(tensor.shape));
  if (storage.weight == WeightStorage::kSparse) {
    const int64_t rows = Matrix(tensor.shape).rows;
    return {
        {tensor.name + ".values", DType::kF32, {storage.kept}, [tensor](auto& f) { return WriteValues(tensor, f); }},
        {tensor.name + ".col_indices",
         DType::kI32,
         {storage.kept},
         [tensor](auto& f) { return WriteColIndices(tensor, f); }},
        {tensor.name + ".row_offsets", DType::kI32, {rows + 1}, [tensor](auto& f) {
           return WriteRowOffsets(tensor, f);
         }}};
  }
  std::vector<TensorSource> sources = {{tensor.name, DType::kF32, tensor.shape, [tensor, elements](auto& f) {
                                          return f.Append(tensor.weight, elements * sizeof(float));
                                        }}};
  if (storage.mask == MaskStorage::kBitmap) {
    // Bit i % 8 of byte i / 8: the words as they lie in memory.
    const uint64_t bytes = (elements + 7) / 8;
    sources.push_back({tensor.name + ".kept", DType::kU8, {static_cast<int64_t>(bytes)}, [tensor, bytes](auto& f) {
                         return f.Append(tensor.kept, bytes);
                       }});
  }
  return sources;
}

absl::Status CheckState(const State& state) {
  std::set<std::string> names;
  for (const StateTensor& tensor : state.tensors) {
    std::string reason = CheckTensor(tensor);
    if (reason.empty() && !names.insert(tensor.name).second) reason = "is there twice";
    if (!reason.empty()) {
      return absl::InvalidArgumentError(fmt::format("cannot save: tensor '{}' {}", tensor.name, reason));
    }
  }
  if (state.step < 0 || state.position < 0) {
    return absl::InvalidArgumentError(
        fmt::format("cannot save: step {} and position {} must not be negative", state.step, state.position));
  }
  return absl::OkStatus();
}

}  // namespace filigree::checkpoint
