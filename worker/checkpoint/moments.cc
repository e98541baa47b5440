#include "worker/checkpoint/selection.h"

namespace filigree::checkpoint {
namespace {

// An array as it lies in memory.
template <typename T>
TensorSource ArraySource(std::string name, DType dtype, Shape shape, const T* data) {
  const uint64_t bytes = static_cast<uint64_t>(Elements(shape)) * sizeof(T);
  return {std::move(name), dtype, std::move(shape),
          [data, bytes](WritableFile& file) { return file.Append(data, bytes); }};
}

}  // namespace

std::vector<TensorSource> MomentSources(const StateTensor& tensor) {
  std::vector<TensorSource> sources;
  const kernels::PatternView* candidates = tensor.candidates;
  if (candidates != nullptr) {
    sources.push_back(ArraySource(tensor.name + ".candidates.row_offsets", DType::kI32, {candidates->rows + 1},
                                  candidates->row_offsets));
    sources.push_back(ArraySource(tensor.name + ".candidates.col_indices", DType::kU16, {candidates->nnz()},
                                  candidates->col_indices));
  }
  if (tensor.m == nullptr) return sources;
  const Shape shape = candidates != nullptr ? Shape{candidates->nnz()} : tensor.shape;
  sources.push_back(ArraySource(tensor.name + ".m", DType::kF32, shape, tensor.m));
  sources.push_back(ArraySource(tensor.name + ".v", DType::kF32, shape, tensor.v));
  return sources;
}

}  // namespace filigree::checkpoint
