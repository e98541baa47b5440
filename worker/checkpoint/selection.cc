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

// Calls f(row, column, value) for every kept entry of the tensor, ascending.
template <typename F>
void ForEachEntry(const StateTensor& tensor, F f) {
  const int64_t values = StoredValues(tensor), cols = Matrix(tensor.shape).cols;
  int64_t row = 0;
  const auto visit = [&](int64_t i) {
    if (tensor.candidates != nullptr) {
      while (i >= tensor.candidates->row_offsets[row + 1]) ++row;
      return f(row, int64_t{tensor.candidates->col_indices[i]}, tensor.weight[i]);
    }
    while (i >= (row + 1) * cols) ++row;
    f(row, i - row * cols, tensor.weight[i]);
  };
  if (tensor.kept != nullptr) return ForEachKept(tensor.kept, values, visit);
  for (int64_t i = 0; i < values; ++i) visit(i);
}

absl::Status WriteValues(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<float> out(file);
  ForEachEntry(tensor, [&](int64_t, int64_t, float value) { out.Add(value); });
  return out.Finish();
}

absl::Status WriteColIndices(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<int32_t> out(file);
  ForEachEntry(tensor, [&](int64_t, int64_t col, float) { out.Add(static_cast<int32_t>(col)); });
  return out.Finish();
}

absl::Status WriteRowOffsets(const StateTensor& tensor, WritableFile& file) {
  NumberWriter<int32_t> out(file);
  const int64_t rows = Matrix(tensor.shape).rows;
  int64_t row = 0;
  int32_t entries = 0;
  out.Add(0);
  ForEachEntry(tensor, [&](int64_t of, int64_t, float) {
    for (; row < of; ++row) out.Add(entries);
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

std::string CheckCandidates(const StateTensor& tensor) {
  const kernels::PatternView& candidates = *tensor.candidates;
  const auto [rows, cols] = Matrix(tensor.shape);
  if (rows != candidates.rows || cols != candidates.cols) {
    return fmt::format("of shape {} has candidates of a {} x {} matrix", ShapeText(tensor.shape), candidates.rows,
                       candidates.cols);
  }
  if (!kernels::IsSound(candidates)) return "has candidates that do not ascend within its rows";
  if (candidates.nnz() < 1 || candidates.nnz() > INT32_MAX) {
    return fmt::format("has {} candidates, 1 to {} can be stored", candidates.nnz(), INT32_MAX);
  }
  return "";
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
  if (tensor.candidates != nullptr) {
    std::string reason = CheckCandidates(tensor);
    if (!reason.empty()) return reason;
  }
  const int64_t values = StoredValues(tensor);
  if (tensor.kept != nullptr && values % 64 != 0 && tensor.kept[values / 64] >> (values % 64) != 0) {
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

int64_t StoredValues(const StateTensor& tensor) {
  return tensor.candidates != nullptr ? tensor.candidates->nnz() : Elements(tensor.shape);
}

ManifestTensor ChooseStorage(const StateTensor& tensor) {
  const int64_t elements = StoredValues(tensor);
  ManifestTensor storage{tensor.name, tensor.shape};
  storage.moments = tensor.m != nullptr;
  storage.kept = tensor.kept == nullptr ? elements : CountKept(tensor.kept, elements);
  if (tensor.candidates != nullptr) {
    const bool lossless = tensor.kept == nullptr || ZeroElsewhere(tensor.weight, tensor.kept, elements);
    storage.weight = lossless ? WeightStorage::kSparse : WeightStorage::kCandidates;
    storage.mask = lossless ? MaskStorage::kWithValues : MaskStorage::kBitmap;
    storage.candidates = elements;
    return storage;
  }
  if (tensor.kept == nullptr) return storage;
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
  const auto values = static_cast<uint64_t>(StoredValues(tensor));
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
  const Shape shape = storage.candidates > 0 ? Shape{storage.candidates} : tensor.shape;
  std::vector<TensorSource> sources = {{tensor.name, DType::kF32, shape, [tensor, values](auto& f) {
                                          return f.Append(tensor.weight, values * sizeof(float));
                                        }}};
  if (storage.mask == MaskStorage::kBitmap) {
    // Bit i % 8 of byte i / 8: the words as they lie in memory.
    const uint64_t bytes = (values + 7) / 8;
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
