#ifndef FILIGREE_WORKER_EXCHANGE_STATE_DIGEST_H_
#define FILIGREE_WORKER_EXCHANGE_STATE_DIGEST_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "kernels/digest/digest.h"
#include "worker/exchange/matrix_part.h"
#include "worker/model/registry.h"

// What a rank says of its state: a digest for every tensor and component, over (index in the whole tensor, value).
// Digests of the ranks that share a tensor add up to that of the whole; the same for every grid, storage and number of
// threads.

namespace filigree::exchange {

enum class Component : uint8_t { kWeights, kFirstMoments, kSecondMoments, kMask, kCandidates };
inline constexpr int kComponents = 5;
const char* Name(Component component);  // "weights", ...

// A tensor as it lies here. Borrowed.
struct DigestedTensor {
  const model::TensorInfo* info = nullptr;
  // Where it exists; null: everywhere. Arrays and `kept` have one element a candidate then.
  const kernels::PatternView* candidates = nullptr;
  const float *weights = nullptr, *first_moments = nullptr, *second_moments = nullptr;  // null: none, counts as 0
  const uint64_t* kept = nullptr;  // the mask; null: all, which says nothing
};

struct TensorDigests {
  std::string name;
  kernels::Digest of[kComponents];

  bool operator==(const TensorDigests&) const = default;
  // Of another part of the same tensor.
  TensorDigests& operator+=(const TensorDigests& part);
};

// Cost: one read of everything.
std::vector<TensorDigests> StateDigests(std::span<const DigestedTensor> tensors, kernels::ThreadPool& pool);

// digests += those of the stored values [begin, end) of a tensor: elements where it is whole, else candidates. Its
// parts add up to it.
void AddStored(const DigestedTensor& tensor, int64_t begin, int64_t end, TensorDigests& digests);

// Of one array of which this rank holds some parts (rows and columns of the tensor as `info` has it here): moments with
// owners. Of all owners they add up.
kernels::Digest PartsDigest(const model::TensorInfo& info, std::span<const MatrixPart> parts,
                            kernels::ThreadPool& pool);

// One digest of them all, names included: equal states have equal ones.
kernels::Digest Together(std::span<const TensorDigests> digests);
// The same of these components alone.
kernels::Digest Together(std::span<const TensorDigests> digests, std::span<const Component> components);

// 32 hex digits.
std::string Hex(const kernels::Digest& digest);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_STATE_DIGEST_H_
