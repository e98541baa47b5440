#include "worker/bench/inputs.h"

#include <algorithm>
#include <cmath>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/base/random.h"
#include "kernels/weight_topk/weight_topk.h"

namespace filigree::bench {
namespace {

constexpr uint64_t kSeed = 20251113;
constexpr uint64_t kZerosStream = 1 << 20;

}  // namespace

kernels::Buffer<float> RandomNormals(size_t n, uint64_t stream, kernels::ThreadPool& pool, double zeros) {
  constexpr size_t kBlock = 1 << 14;
  kernels::Buffer<float> values(n);
  const kernels::CounterRng rng(kSeed, stream), coin(kSeed, stream + kZerosStream);
  pool.Run(static_cast<int64_t>((n + kBlock - 1) / kBlock), [&](int64_t block, int) {
    for (size_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) {
      values[i] = zeros > 0 && coin.Uniform(i) < zeros ? 0.0f : static_cast<float>(rng.Normal(i));
    }
  });
  return values;
}

Activations RandomActivations(int channels, int tiles, int k, uint64_t stream, kernels::ThreadPool& pool) {
  Activations a;
  a.channels = channels;
  a.tiles = tiles;
  a.values = RandomNormals(a.stride() * tiles, stream, pool);
  if (k == channels) return a;
  a.kept = kernels::Buffer<uint64_t>(static_cast<size_t>(channels) * tiles);
  pool.Run(tiles,
           [&](int64_t i, int) { kernels::AbsTopK(a.tile(i), k, a.tile(i), a.kept.data() + i * channels, nullptr); });
  return a;
}

SparseWeights RandomWeights(int out, int in, double density, uint64_t stream, kernels::ThreadPool& pool) {
  SparseWeights w;
  const int64_t numel = static_cast<int64_t>(out) * in;
  w.dense = RandomNormals(numel, stream, pool);
  kernels::Buffer<uint64_t> kept((numel + 63) / 64);
  kernels::WeightSelection selection{.rows = out, .cols = in};
  selection.k = static_cast<int64_t>(std::floor(density * static_cast<double>(numel)));
  kernels::WeightThreshold threshold;
  kernels::SelectWeights(w.dense.data(), selection, &threshold, pool, kept.data());
  w.rows.BuildFromDense(w.dense.data(), kept.data(), out, in, pool);
  w.columns.BuildTranspose(w.rows.view(), pool);
  return w;
}

MovingWeights::MovingWeights(size_t n, uint64_t stream, kernels::ThreadPool& pool)
    : before_(RandomNormals(n, stream, pool)), after_(RandomNormals(n, stream + 1, pool)) {
  for (size_t i = 0; i < n; ++i) after_[i] = before_[i] + 1e-3f * after_[i];
}

}  // namespace filigree::bench
