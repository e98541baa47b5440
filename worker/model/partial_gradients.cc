#include "worker/model/partial_gradients.h"

#include <algorithm>

namespace filigree::model {

void PartialGradients::Begin(const std::vector<Tensor>& tensors) {
  slots_.clear();
  floats_ = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.values == 0) continue;
    slots_.push_back({tensor.tensor, floats_});
    floats_ += (tensor.values + 15) / 16 * 16;
  }
  const size_t wanted = static_cast<size_t>(floats_) * sequences_;
  if (values_.size() < wanted) values_ = kernels::Buffer<float>(wanted);
}

void PartialGradients::Clear(int sequence) { std::fill_n(values_.data() + floats_ * sequence, floats_, 0.0f); }

float* PartialGradients::at(int sequence, int tensor) {
  for (const Slot& slot : slots_) {
    if (slot.tensor == tensor) return values_.data() + floats_ * sequence + slot.offset;
  }
  return nullptr;
}

std::vector<const float*> PartialGradients::all(int tensor, int sequences) {
  std::vector<const float*> partials;
  partials.reserve(sequences);
  for (int s = 0; s < sequences; ++s) partials.push_back(at(s, tensor));
  return partials;
}

}  // namespace filigree::model
