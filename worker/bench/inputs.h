#ifndef FILIGREE_WORKER_BENCH_INPUTS_H_
#define FILIGREE_WORKER_BENCH_INPUTS_H_

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "kernels/csr/csr.h"

// Seeded inputs of the kind that training sees. The same whatever the threads.

namespace filigree::bench {

// N(0, 1), or exactly 0 in a share `zeros` of the places.
kernels::Buffer<float> RandomNormals(size_t n, uint64_t stream, kernels::ThreadPool& pool, double zeros = 0);

// Consecutive tiles of `channels`, and what AbsTopK kept of them (empty where nothing was dropped).
struct Activations {
  kernels::Buffer<float> values;
  kernels::Buffer<uint64_t> kept;
  int channels = 0, tiles = 0;

  size_t stride() const { return static_cast<size_t>(channels) * kernels::kTileTokens; }
  kernels::Tile tile(int i) { return {values.data() + i * stride(), channels}; }
  const uint64_t* kept_of(int i) const {
    return kept.empty() ? nullptr : kept.data() + static_cast<size_t>(i) * channels;
  }
};

// Normals of which each token keeps its k largest (k == channels: all of them, and no kept bits).
Activations RandomActivations(int channels, int tiles, int k, uint64_t stream, kernels::ThreadPool& pool);

// The largest floor(density * out * in) of a matrix of normals, dense and in CSR both ways.
struct SparseWeights {
  kernels::Buffer<float> dense;
  kernels::Csr rows, columns;  // of W and of its transpose
};
SparseWeights RandomWeights(int out, int in, double density, uint64_t stream, kernels::ThreadPool& pool);

// Weights before and after a small step, so that a threshold is never from the very weights it is used on.
class MovingWeights {
 public:
  MovingWeights(size_t n, uint64_t stream, kernels::ThreadPool& pool);

  size_t size() const { return before_.size(); }
  // Before and after in turn: every case counts its own calls.
  const float* at(int64_t call) const { return (call % 2 == 0 ? before_ : after_).data(); }

 private:
  kernels::Buffer<float> before_, after_;
};

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_INPUTS_H_
