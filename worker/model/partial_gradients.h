#ifndef FILIGREE_WORKER_MODEL_PARTIAL_GRADIENTS_H_
#define FILIGREE_WORKER_MODEL_PARTIAL_GRADIENTS_H_

#include <cstdint>
#include <vector>

#include "kernels/base/buffer.h"

// Gradients of matrices on candidates as the sequences of a shard form them, one set a sequence, for the matrices that
// a pass is at (those of one layer, or lm_head): they are added in the order of sequences, whichever thread ran which.

namespace filigree::model {

class PartialGradients {
 public:
  explicit PartialGradients(int sequences) : sequences_(sequences) {}

  struct Matrix {
    int tensor;
    int64_t candidates;  // 0: not on candidates
  };
  // The matrices of the next passes. What was there is forgotten.
  void Begin(const std::vector<Matrix>& matrices);
  // All zero, for a sequence that begins.
  void Clear(int sequence);
  // In the order of kernels::CandidateMatrix; null: the matrix is whole.
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
