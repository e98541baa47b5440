#ifndef FILIGREE_WORKER_DATA_LOADER_H_
#define FILIGREE_WORKER_DATA_LOADER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/data/token_stream.h"

// Which tokens a run sees, and in what order: a pure function of (stream, n_ctx, seed, index).
//
// The stream is cut into W = floor(size / n_ctx) windows, window w = tokens [w n_ctx, (w + 1) n_ctx); the rest of less
// than one window is never seen. Sequence i of the run is window P_e(i mod W) with e = floor(i / W), where P_e is a
// permutation of the windows keyed by (seed, e): every window comes once an epoch, in another order each. So a run
// resumes from a position alone, and any rank can fetch any sequence.

namespace filigree::data {

// A keyed permutation of [0, n): a balanced Feistel network over the next even number of bits, walked until it lands
// below n (at most 4 steps in the mean). O(1) memory and time.
class Permutation {
 public:
  // n >= 1. Different (seed, epoch) give unrelated permutations.
  Permutation(int64_t n, uint64_t seed, uint64_t epoch);
  int64_t operator()(int64_t i) const;

 private:
  uint64_t Round(uint64_t x) const;

  uint64_t n_, seed_, stream_;
  int half_bits_;
};

class Loader {
 public:
  // InvalidArgument where the stream is shorter than one window (says how long it is and what would work).
  static absl::Status Check(const TokenStream& stream, int n_ctx);

  // Borrows `stream`, which must outlive it and pass Check.
  Loader(const TokenStream& stream, int n_ctx, uint64_t seed);

  int64_t sequences_per_epoch() const { return windows_; }

  // Writes the n_ctx tokens of sequence `index` >= 0. Thread-safe.
  void Sequence(int64_t index, int32_t* tokens) const;

  // The window that sequence `index` is.
  int64_t Window(int64_t index) const;

  // Passes over the stream after `sequences` sequences.
  double Epochs(int64_t sequences) const { return static_cast<double>(sequences) / static_cast<double>(windows_); }

 private:
  const TokenStream* stream_;
  int n_ctx_;
  uint64_t seed_;
  int64_t windows_;
};

// First tokens of min(count, windows) windows of n_ctx tokens, spread evenly over the stream, ascending; the same for
// every run. Empty where the stream is shorter than one window.
std::vector<int64_t> ValidationSequences(const TokenStream& stream, int n_ctx, int64_t count);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_LOADER_H_
