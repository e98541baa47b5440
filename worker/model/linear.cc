#include "worker/model/linear.h"

#include "kernels/gemm/gemm.h"
#include "kernels/spmm/spmm.h"

namespace filigree::model {

void Linear::Set(const StoredMatrix& matrix, const float* bias, kernels::ThreadPool& pool) {
  w_ = matrix.w;
  bias_ = bias;
  on_candidates_ = matrix.candidates != nullptr;
  if (on_candidates_) return SetCandidates(matrix, pool);
  sparse_ = matrix.kept != nullptr &&
            static_cast<double>(matrix.nonzeros) <= kSparseDensity * out_ * static_cast<double>(in_);
  if (!sparse_) return;
  rows_.BuildFromDense(w_, matrix.kept, out_, in_, pool);
  columns_.BuildTranspose(rows_.view(), pool);
}

void Linear::SetCandidates(const StoredMatrix& matrix, kernels::ThreadPool& pool) {
  sparse_ = false;
  if (version_ != matrix.version) {
    rows_ = kernels::Csr();
    columns_ = kernels::Csr();
    sampled_.SetPattern(*matrix.candidates, pool);
    version_ = matrix.version;
  }
  sampled_.SetWeights(matrix.w, matrix.kept, pool);
}

void Linear::Forward(kernels::ConstTile x, kernels::Tile y) const {
  if (on_candidates_) {
    sampled_.Forward(x, bias_, y);
  } else if (sparse_) {
    kernels::Spmm(rows_.view(), x, bias_, y);
  } else {
    kernels::GemmForward(w_, out_, in_, x, bias_, y);
  }
}

void Linear::Backward(kernels::ConstTile dy, kernels::Tile dx) const {
  if (on_candidates_) {
    sampled_.Backward(dy, dx);
  } else if (sparse_) {
    kernels::Spmm(columns_.view(), dy, nullptr, dx);
  } else {
    kernels::GemmBackward(w_, out_, in_, dy, dx);
  }
}

void Linear::BackwardWithGradient(kernels::ConstTile dy, kernels::ConstTile x, kernels::Tile dx, float* partial) const {
  sampled_.BackwardWithGradient(dy, x, dx, partial);
}

}  // namespace filigree::model
