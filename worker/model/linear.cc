#include "worker/model/linear.h"

#include "kernels/gemm/gemm.h"
#include "kernels/spmm/spmm.h"

namespace filigree::model {

void Linear::Set(const float* w, const float* bias, const uint64_t* kept, int64_t nonzeros, kernels::ThreadPool& pool) {
  w_ = w;
  bias_ = bias;
  sparse_ = kept != nullptr && static_cast<double>(nonzeros) <= kSparseDensity * out_ * static_cast<double>(in_);
  if (!sparse_) return;
  rows_.BuildFromDense(w, kept, out_, in_, pool);
  columns_.BuildTranspose(rows_.view(), pool);
}

void Linear::Forward(kernels::ConstTile x, kernels::Tile y) const {
  if (sparse_) {
    kernels::Spmm(rows_.view(), x, bias_, y);
  } else {
    kernels::GemmForward(w_, out_, in_, x, bias_, y);
  }
}

void Linear::Backward(kernels::ConstTile dy, kernels::Tile dx) const {
  if (sparse_) {
    kernels::Spmm(columns_.view(), dy, nullptr, dx);
  } else {
    kernels::GemmBackward(w_, out_, in_, dy, dx);
  }
}

}  // namespace filigree::model
