#include <algorithm>

#include "worker/checkpoint/components.h"
#include "worker/checkpoint/selection.h"
#include "worker/checkpoint/stored_tensors.h"

// Reading tensors that exist on candidates, and others as if they did.

namespace filigree::checkpoint {
namespace {

using kernels::Buffer;
using kernels::Pattern;
using kernels::PatternView;

constexpr int64_t kMostRows = 65536;  // kernels/csr/pattern.h

Buffer<uint64_t> AllKept(int64_t entries) {
  Buffer<uint64_t> kept(static_cast<size_t>(BitmapWords(entries)));
  std::fill(kept.begin(), kept.end(), ~uint64_t{0});
  if (entries % 64 != 0) kept[entries / 64] = (uint64_t{1} << (entries % 64)) - 1;
  return kept;
}

Pattern FromIndices(int rows, int cols, const std::vector<int64_t>& indices) {
  Pattern pattern(rows, cols, static_cast<int64_t>(indices.size()));
  for (size_t e = 0; e < indices.size(); ++e) {
    pattern.col_indices()[e] = static_cast<uint16_t>(indices[e] % cols);
    ++pattern.row_offsets()[indices[e] / cols + 1];
  }
  for (int r = 0; r < rows; ++r) pattern.row_offsets()[r + 1] += pattern.row_offsets()[r];
  return pattern;
}

}  // namespace

absl::StatusOr<Pattern> StoredTensors::ReadPattern(const ManifestTensor& tensor) const {
  auto offsets = ReadAll<int32_t>(moments, tensor.name + ".candidates.row_offsets");
  if (!offsets.ok()) return offsets.status();
  if (offsets->front() != 0 || offsets->back() != tensor.candidates ||
      !std::is_sorted(offsets->begin(), offsets->end())) {
    return Unsound(moments, tensor, "the row offsets of its candidates do not rise from 0 to their number");
  }
  const auto [rows, cols] = Matrix(tensor.shape);
  Pattern pattern(static_cast<int>(rows), static_cast<int>(cols), tensor.candidates);
  std::copy(offsets->begin(), offsets->end(), pattern.row_offsets());
  absl::Status status = ReadAll(moments, tensor.name + ".candidates.col_indices", pattern.col_indices());
  if (!status.ok()) return status;
  if (!IsSound(pattern.view())) {
    return Unsound(moments, tensor, "its candidates do not rise within a row, or lie outside of it");
  }
  return pattern;
}

absl::StatusOr<CandidateWeights> StoredTensors::ReadWeights(const ManifestTensor& tensor,
                                                            const PatternView& candidates) const {
  CandidateWeights read{Buffer<float>(static_cast<size_t>(candidates.nnz())),
                        Buffer<uint64_t>(static_cast<size_t>(candidates.words()))};
  if (tensor.weight == WeightStorage::kCandidates) {
    absl::Status status = ReadAll(weights, tensor.name, read.weight.data());
    if (!status.ok()) return status;
    auto kept = ReadBitmap(tensor);
    if (!kept.ok()) return kept.status();
    std::copy(kept->begin(), kept->end(), read.kept.begin());
    return read;
  }
  auto entries = ReadSparse(tensor);
  if (!entries.ok()) return entries.status();
  EntryIndices index(candidates);
  int64_t e = 0;
  for (size_t i = 0; i < entries->indices.size(); ++i, ++e) {
    while (e < candidates.nnz() && index(e) < entries->indices[i]) ++e;
    if (e == candidates.nnz() || index(e) != entries->indices[i]) {
      return Unsound(weights, tensor, "it keeps an entry that is none of its candidates");
    }
    read.weight[e] = entries->values[i];
    read.kept[e / 64] |= uint64_t{1} << (e % 64);
  }
  return read;
}

absl::Status StoredTensors::ReadCandidateWeight(const ManifestTensor& tensor, float* weight, uint64_t* kept) const {
  auto candidates = ReadPattern(tensor);
  if (!candidates.ok()) return candidates.status();
  const PatternView view = candidates->view();
  auto read = ReadWeights(tensor, view);
  if (!read.ok()) return read.status();
  const int64_t elements = Elements(tensor.shape);
  if (weight != nullptr) {
    std::fill_n(weight, elements, 0.0f);
    EntryIndices index(view);
    for (int64_t e = 0; e < view.nnz(); ++e) weight[index(e)] = read->weight[e];
  }
  if (kept != nullptr) {
    std::fill_n(kept, BitmapWords(elements), 0);
    EntryIndices index(view);
    ForEachKept(read->kept.data(), view.nnz(), [&](int64_t e) {
      const int64_t i = index(e);
      kept[i / 64] |= uint64_t{1} << (i % 64);
    });
  }
  return absl::OkStatus();
}

absl::Status StoredTensors::ReadCandidateMoment(const ManifestTensor& tensor, const char* suffix, float* moment) const {
  auto candidates = ReadPattern(tensor);
  if (!candidates.ok()) return candidates.status();
  EntryIndices index(candidates->view());
  return ReadDense(moments, tensor.name + suffix, [&](int64_t first, const float* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) moment[index(first + i)] = values[i];
  });
}

absl::StatusOr<CandidateTensor> StoredTensors::ReadCandidates(const ManifestTensor& tensor) const {
  if (tensor.candidates == 0) return ReadKeptAsCandidates(tensor);
  auto pattern = ReadPattern(tensor);
  if (!pattern.ok()) return pattern.status();
  auto read = ReadWeights(tensor, pattern->view());
  if (!read.ok()) return read.status();
  const auto nnz = static_cast<size_t>(tensor.candidates);
  CandidateTensor result{std::move(*pattern), std::move(read->weight), Buffer<float>(nnz), Buffer<float>(nnz),
                         std::move(read->kept)};
  if (!tensor.moments) return result;
  absl::Status status = ReadAll(moments, tensor.name + ".m", result.m.data());
  if (status.ok()) status = ReadAll(moments, tensor.name + ".v", result.v.data());
  if (!status.ok()) return status;
  return result;
}

absl::StatusOr<CandidateTensor> StoredTensors::ReadKeptAsCandidates(const ManifestTensor& tensor) const {
  const auto [rows, cols] = Matrix(tensor.shape);
  if (rows > kMostRows || cols > kMostRows || tensor.kept > INT32_MAX) {
    return absl::FailedPreconditionError(
        fmt::format("{}: tensor {} of shape {} keeps {} entries: candidates have at most {} rows and columns and {} "
                    "entries",
                    weights.text(), tensor.name, ShapeText(tensor.shape), tensor.kept, kMostRows, INT32_MAX));
  }
  const auto r = static_cast<int>(rows), c = static_cast<int>(cols);
  const auto nnz = static_cast<size_t>(tensor.kept);
  CandidateTensor result{{}, Buffer<float>(nnz), Buffer<float>(nnz), Buffer<float>(nnz), AllKept(tensor.kept)};
  if (tensor.weight == WeightStorage::kSparse) {
    auto entries = ReadSparse(tensor);
    if (!entries.ok()) return entries.status();
    result.pattern = FromIndices(r, c, entries->indices);
    std::copy(entries->values.begin(), entries->values.end(), result.weight.begin());
  } else if (tensor.mask == MaskStorage::kBitmap) {
    auto kept = ReadBitmap(tensor);
    if (!kept.ok()) return kept.status();
    result.pattern = Pattern::FromDenseBitmap(r, c, kept->data());
  } else {
    result.pattern = Pattern::Full(r, c);
  }
  // Values of the entries from a component that holds all of the tensor.
  const auto gather = [&](const DataFiles& data, const char* suffix, Buffer<float>& to) {
    EntryIndices index(result.pattern.view());
    int64_t e = 0;
    return ReadDense(data, tensor.name + suffix, [&](int64_t first, const float* values, int64_t n) {
      for (; e < tensor.kept && index(e) < first + n; ++e) to[e] = values[index(e) - first];
    });
  };
  absl::Status status;
  if (tensor.weight == WeightStorage::kDense) status = gather(weights, "", result.weight);
  if (status.ok() && tensor.moments) status = gather(moments, ".m", result.m);
  if (status.ok() && tensor.moments) status = gather(moments, ".v", result.v);
  if (!status.ok()) return status;
  return result;
}

}  // namespace filigree::checkpoint
