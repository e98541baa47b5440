#include "worker/checkpoint/stored_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/components.h"
#include "worker/checkpoint/selection.h"

namespace filigree::checkpoint {
namespace {

constexpr int64_t kPiece = 64 << 10;  // floats

absl::Status Check(const DataFiles& data, const std::string& name, DType dtype, const Shape& shape) {
  const auto [in, entry] = data.Find(name);
  if (entry == nullptr) {
    return absl::DataLossError(fmt::format("the manifest promises {}, which {} does not hold", name, data.text()));
  }
  if (entry->dtype != dtype || entry->shape != shape) {
    return absl::DataLossError(fmt::format("{}: {} is {} {}, by the manifest {} {}", in->path, name,
                                           DTypeName(entry->dtype), ShapeText(entry->shape), DTypeName(dtype),
                                           ShapeText(shape)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DataFiles::Add(DataFile file) {
  for (size_t i = 0; i < file.header.tensors.size(); ++i) {
    const std::string& name = file.header.tensors[i].name;
    const auto [place, is_new] = places_.try_emplace(name, files_.size(), i);
    if (is_new) continue;
    return absl::DataLossError(
        fmt::format("{} is both in {} and in {}", name, files_[place->second.first].path, file.path));
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

DataFiles::Component DataFiles::Find(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end()) return {};
  const auto [file, entry] = place->second;
  return {&files_[file], &files_[file].header.tensors[entry]};
}

std::string DataFiles::text() const {
  if (files_.empty()) return "no file";
  return files_.size() == 1 ? files_[0].path
                            : fmt::format("none of the {} files like {}", files_.size(), files_[0].path);
}

absl::Status StoredTensors::CheckComponents(const ManifestTensor& tensor) const {
  const std::string& name = tensor.name;
  const bool whole = tensor.candidates == 0;
  const int64_t values = whole ? Elements(tensor.shape) : tensor.candidates, rows = Matrix(tensor.shape).rows;
  const Shape shape = whole ? tensor.shape : Shape{tensor.candidates};
  absl::Status status;
  const auto check = [&](const DataFiles& data, const char* suffix, DType dtype, const Shape& expected) {
    if (status.ok()) status = Check(data, name + suffix, dtype, expected);
  };
  if (tensor.weight == WeightStorage::kSparse) {
    check(weights, ".values", DType::kF32, {tensor.kept});
    check(weights, ".col_indices", DType::kI32, {tensor.kept});
    check(weights, ".row_offsets", DType::kI32, {rows + 1});
  } else {
    check(weights, "", DType::kF32, shape);
  }
  if (tensor.mask == MaskStorage::kBitmap) check(weights, ".kept", DType::kU8, {(values + 7) / 8});
  if (!whole) {
    check(moments, ".candidates.row_offsets", DType::kI32, {rows + 1});
    check(moments, ".candidates.col_indices", DType::kU16, {tensor.candidates});
  }
  if (tensor.moments) {
    check(moments, ".m", DType::kF32, shape);
    check(moments, ".v", DType::kF32, shape);
  }
  return status;
}

absl::StatusOr<SparseEntries> StoredTensors::ReadSparse(const ManifestTensor& tensor) const {
  auto values = ReadAll<float>(weights, tensor.name + ".values");
  if (!values.ok()) return values.status();
  auto columns = ReadAll<int32_t>(weights, tensor.name + ".col_indices");
  if (!columns.ok()) return columns.status();
  auto offsets = ReadAll<int32_t>(weights, tensor.name + ".row_offsets");
  if (!offsets.ok()) return offsets.status();
  const auto [rows, cols] = Matrix(tensor.shape);
  if (offsets->front() != 0 || offsets->back() != tensor.kept || !std::is_sorted(offsets->begin(), offsets->end())) {
    return Unsound(weights, tensor, "its row offsets do not rise from 0 to the number of entries");
  }
  SparseEntries entries{std::move(*values), std::vector<int64_t>(columns->size())};
  for (int64_t row = 0; row < rows; ++row) {
    int64_t before = -1;
    for (int64_t e = (*offsets)[row]; e < (*offsets)[row + 1]; ++e) {
      const int64_t col = (*columns)[e];
      if (col <= before || col >= cols) return Unsound(weights, tensor, "its columns do not rise within a row");
      before = col;
      entries.indices[e] = row * cols + col;
    }
  }
  return entries;
}

absl::StatusOr<std::vector<uint64_t>> StoredTensors::ReadBitmap(const ManifestTensor& tensor) const {
  const int64_t values = tensor.candidates > 0 ? tensor.candidates : Elements(tensor.shape);
  std::vector<uint64_t> kept(BitmapWords(values));
  absl::Status status = ReadAll(weights, tensor.name + ".kept", kept.data());
  if (!status.ok()) return status;
  if (values % 64 != 0 && kept.back() >> (values % 64) != 0) {
    return Unsound(weights, tensor, "its selection has bits behind its end");
  }
  if (CountKept(kept.data(), values) != tensor.kept) {
    return Unsound(weights, tensor, "its selection has another size than the manifest says");
  }
  return kept;
}

absl::Status StoredTensors::ReadWeight(const ManifestTensor& tensor, float* weight, uint64_t* kept) const {
  const int64_t elements = Elements(tensor.shape);
  if (tensor.candidates > 0) return ReadCandidateWeight(tensor, weight, kept);
  if (tensor.weight == WeightStorage::kSparse) {
    auto entries = ReadSparse(tensor);
    if (!entries.ok()) return entries.status();
    if (weight != nullptr) std::fill_n(weight, elements, 0.0f);
    if (kept != nullptr) std::fill_n(kept, BitmapWords(elements), 0);
    for (size_t e = 0; e < entries->indices.size(); ++e) {
      const int64_t i = entries->indices[e];
      if (weight != nullptr) weight[i] = entries->values[e];
      if (kept != nullptr) kept[i / 64] |= uint64_t{1} << (i % 64);
    }
    return absl::OkStatus();
  }
  if (weight != nullptr) {
    absl::Status status = ReadAll(weights, tensor.name, weight);
    if (!status.ok()) return status;
  }
  if (kept == nullptr) return absl::OkStatus();
  if (tensor.mask == MaskStorage::kNone) {
    std::fill_n(kept, BitmapWords(elements), ~uint64_t{0});
    if (elements % 64 != 0) kept[elements / 64] = (uint64_t{1} << (elements % 64)) - 1;
    return absl::OkStatus();
  }
  auto bitmap = ReadBitmap(tensor);
  if (!bitmap.ok()) return bitmap.status();
  std::copy(bitmap->begin(), bitmap->end(), kept);
  return absl::OkStatus();
}

absl::Status StoredTensors::ReadMoment(const ManifestTensor& tensor, const char* suffix, float* moment) const {
  if (tensor.moments && tensor.candidates == 0) return ReadAll(moments, tensor.name + suffix, moment);
  std::fill_n(moment, Elements(tensor.shape), 0.0f);
  return tensor.moments ? ReadCandidateMoment(tensor, suffix, moment) : absl::OkStatus();
}

absl::Status StoredTensors::ReadDense(const DataFiles& data, const std::string& component,
                                      const TakePiece& take) const {
  const auto [in, entry] = data.Find(component);
  const int64_t elements = Elements(entry->shape);
  std::vector<float> piece(std::min(kPiece, elements));
  for (int64_t at = 0; at < elements; at += kPiece) {
    const int64_t n = std::min(kPiece, elements - at);
    absl::Status status = in->file->ReadAt(entry->begin + at * sizeof(float), piece.data(), n * sizeof(float));
    if (!status.ok()) return status;
    take(at, piece.data(), n);
  }
  return absl::OkStatus();
}

}  // namespace filigree::checkpoint
