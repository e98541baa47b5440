#ifndef FILIGREE_WORKER_EXCHANGE_TOP_ENTRIES_H_
#define FILIGREE_WORKER_EXCHANGE_TOP_ENTRIES_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/weight_topk/weight_topk.h"
#include "worker/exchange/alternatives.h"

// Entries of a gradient on their way: which leave a rank, and how they look as bytes.

namespace filigree::exchange {

// Ascending positions. Values are fp32, of which the wire carries all or, kBf16, the upper half: the lower one is 0
// then.
struct Entries {
  std::vector<uint32_t> positions;
  std::vector<float> values;

  size_t size() const { return positions.size(); }
  void Add(uint32_t position, float value) {
    positions.push_back(position);
    values.push_back(value);
  }
};

// Entries [first, last), their positions counted from `origin` and below `bound` from there.
std::string Encoded(const Entries& entries, size_t first, size_t last, int64_t origin, int64_t bound, WireValue wire);
absl::StatusOr<Entries> Decoded(const std::string& bytes, int64_t origin, int64_t bound, WireValue wire);

// The largest entries of what has gathered, and what has not been sent, in a residual that the caller keeps.
class HeldBack {
 public:
  HeldBack(int64_t n, int64_t k, WireValue wire, kernels::ThreadPool& pool);

  // Adds the gradient to the residual and takes the k largest entries out, as the wire will carry them. Both have n
  // elements; the residual is used until the next call.
  Entries Take(std::span<const float> gradient, std::span<float> residual);
  // Puts something back.
  void Add(uint32_t position, float value) { residual_[position] += value; }
  // What the wire carries of a value; the rest is held back at `position`.
  float Round(uint32_t position, float value);

 private:
  const int64_t n_, k_;
  const WireValue wire_;
  kernels::ThreadPool& pool_;
  std::span<float> residual_;
  kernels::Buffer<uint64_t> kept_;
  kernels::WeightThreshold threshold_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_TOP_ENTRIES_H_
