#ifndef FILIGREE_WORKER_CHECKPOINT_SELECTION_H_
#define FILIGREE_WORKER_CHECKPOINT_SELECTION_H_

#include <bit>
#include <cstdint>

#include "absl/status/status.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/manifest.h"

// How one tensor goes to disk. Its weights: dense, dense with a bitmap, one value a candidate with a bitmap, or values
// and indices of the kept entries. Its moments and candidates: as they lie in memory.

namespace filigree::checkpoint {

inline int64_t BitmapWords(int64_t elements) { return (elements + 63) / 64; }

// Calls f(index) for every set bit below `elements`, ascending.
template <typename F>
void ForEachKept(const uint64_t* kept, int64_t elements, F f) {
  for (int64_t word = 0; word < BitmapWords(elements); ++word) {
    for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1) f(word * 64 + std::countr_zero(bits));
  }
}

int64_t CountKept(const uint64_t* kept, int64_t elements);

// The values a tensor has, and the entries of its bitmap: the elements of its shape, or its candidates.
int64_t StoredValues(const StateTensor& tensor);

// The entry of the manifest for a tensor: sparse where nothing is lost by it (every entry that is not kept is +0.0)
// and, for a whole tensor, the file becomes smaller; else dense, or on candidates.
ManifestTensor ChooseStorage(const StateTensor& tensor);

// Component tensors of the weights file, in that storage. They read the tensor when they are written.
std::vector<TensorSource> WeightSources(const StateTensor& tensor, const ManifestTensor& storage);
// Of the moments file; none where the tensor has neither moments nor candidates.
std::vector<TensorSource> MomentSources(const StateTensor& tensor);

// InvalidArgument: a name the format cannot hold, a repeated name, an empty shape dimension, no weights, stray bits in
// a bitmap, candidates that are unsound, of another shape or none.
absl::Status CheckState(const State& state);

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_SELECTION_H_
