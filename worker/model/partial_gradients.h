#ifndef FILIGREE_WORKER_MODEL_PARTIAL_GRADIENTS_H_
#define FILIGREE_WORKER_MODEL_PARTIAL_GRADIENTS_H_

#include <cstdint>
#include <vector>

#include "kernels/base/buffer.h"

// Gradients of biases and of matrices on candidates as the sequences of a shard form them, one set a sequence, for the
// tensors that a pass is at (those of one layer, or lm_head): they are added in the order of sequences, whichever
// thread ran which.

namespace filigree::model {

class PartialGradients {
 public:
  explicit PartialGradients(int sequences) : sequences_(sequences) {}

  struct Tensor {
    int tensor;
    int64_t values;  // 0: a matrix that is whole
  };
  // What the next passes form. What was there is forgotten.
  void Begin(const std::vector<Tensor>& tensors);
  // All zero, for a sequence that begins.
  void Clear(int sequence);
  // Of a matrix in the order of kernels::CandidateMatrix; null: it is whole.
  float* at(int sequence, int tensor);
  // Of every sequence, in order.
  std::vector<const float*> all(int tensor, int sequences);

  size_t bytes() const { return values_.size() * sizeof(float); }

 private:
  struct Slot {
    int tensor;
    int64_t offset;
  };
  int sequences_;
  std::vector<Slot> slots_;
  int64_t floats_ = 0;  // a sequence
  kernels::Buffer<float> values_;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_PARTIAL_GRADIENTS_H_
