#ifndef FILIGREE_KERNELS_ATTENTION_WORK_H_
#define FILIGREE_KERNELS_ATTENTION_WORK_H_

#include <bit>
#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/base/tile.h"
#include "kernels/base/trace.h"

// How much one call of attention does, for the trace: products over the keys that a query sees, at the share of entries
// that AbsTopK kept of k and v.

namespace filigree::kernels {

// Share of entries kept; 1 where all are.
inline double KeptShare(const uint64_t* kept, size_t stride, int channels, int tokens) {
  if (kept == nullptr) return 1;
  int64_t count = 0;
  for (int i = 0; i < TilesOf(tokens); ++i) {
    for (int c = 0; c < channels; ++c) count += std::popcount(kept[i * stride + c]);
  }
  return static_cast<double>(count) / (static_cast<double>(TilesOf(tokens)) * kTileTokens * channels);
}

// `products` of them and `arrays` of [K][tokens] read or written.
template <typename Args>
TraceWork AttentionWork(const Args& args, double products, double arrays) {
  const double pairs = args.tokens * (args.tokens + 1.0) / 2;
  const double share = (KeptShare(args.kept_k, args.kept_stride, args.k.channels, args.tokens) +
                        KeptShare(args.kept_v, args.kept_stride, args.v.channels, args.tokens)) /
                       2;
  return {.flops = 2 * products * pairs * args.k.channels * share,
          .bytes = 4 * arrays * args.k.channels * TilesOf(args.tokens) * kTileTokens,
          .level = TraceLevel::kMemory};
}

inline TraceWork ForwardWork(const AttentionForwardArgs& args) { return AttentionWork(args, 2, 4); }
// The scores once more, and the gradients of both products by both factors.
inline TraceWork BackwardWork(const AttentionBackwardArgs& args) { return AttentionWork(args, 5, 8); }

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_WORK_H_
