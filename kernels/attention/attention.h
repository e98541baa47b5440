#ifndef FILIGREE_KERNELS_ATTENTION_ATTENTION_H_
#define FILIGREE_KERNELS_ATTENTION_ATTENTION_H_

#include <cstdint>

#include "kernels/base/tile.h"

// Causal attention of one head over one sequence, with an optional sink.
//
//   s[i, j] = q_i . k_j / sqrt(K)  for j <= i,      z_i = sum_j exp(s[i, j]) (+ exp(sink)),
//   p[i, j] = exp(s[i, j]) / z_i,                   y_i = sum_j p[i, j] v_j
//
// The sink is one extra key with the logit `sink` itself (unscaled) and value 0, visible to every query.
// q, k, v hold one entry in four after AbsTopK; the kernel uses it, and gives gradients at kept entries only.
//
// Shapes         q, k, v, y and their gradients: [K][tokens] as a series of tiles of 64 tokens (the head's rows of the
//                layer's tiles), 64-byte aligned; tokens >= 1, any K in [1, 256]. Padding past `tokens` may be read but
//                must be finite; it never reaches a real token, whatever q, k, v and dy hold there.
// stats          2 * 64 * tiles floats, written by forward and read by backward of the same implementation: per tile
//                the largest exponent of each query, a power of two: q_i . k_j log2(e) / sqrt(K), or the sink's equal
//                (of the loops in ref: in their own unit), then 1 / z, which is 0 in padding.
// kept           per tile K words (tile i at kept + i * kept_stride); where a bit is 0, the value must be 0.
//                Forward: only a hint of where zeros are, y is the same without. Backward: gradients are 0 where the
//                bit is 0, and a kept 0 has its gradient; null: all kept.
// Writes         all of y, dq, dk, dv, over all tiles, 0 in padding; dsink is accumulated (one float). Outputs may
//                overlap nothing else.
// Accuracy       any logits that are finite in that unit: the exact maximum of a query is subtracted. About half the
//                error of plain fp32 loops.
// Threads        may be called from several at once, on different heads; each keeps 76 KB and 20.5 KB for each tile of
//                the longest sequence so far for itself, forward and backward together, at K 16.
// Determinism    bitwise, the same in AVX2 and AVX-512.
// Cost           64 heads of 16 channels x 256 tokens, one entry in four kept, forward + backward: 3.2 ms on one Zen 4
//                core at 3.7 GHz with operands in L2, 3.7 ms from memory; dense 8.0 ms. Of a pair of a key and a query,
//                the two exponentials cost most.

namespace filigree::kernels {

struct AttentionForwardArgs {
  int tokens = 0;
  ConstTileSeries q, k, v;
  // Which entries AbsTopK kept (null: all): only a hint of where zeros are; y is the same without.
  const uint64_t *kept_k = nullptr, *kept_v = nullptr;
  size_t kept_stride = 0;
  const float* sink = nullptr;  // one float or null
  TileSeries y;
  float* stats = nullptr;
};

struct AttentionBackwardArgs {
  int tokens = 0;
  ConstTileSeries q, k, v, y, dy;
  const uint64_t *kept_q = nullptr, *kept_k = nullptr, *kept_v = nullptr;
  size_t kept_stride = 0;  // words from one tile's kept bits to the next's, the same for q, k and v
  const float* sink = nullptr;
  const float* stats = nullptr;
  TileSeries dq, dk, dv;
  float* dsink = nullptr;
};

void AttentionForward(const AttentionForwardArgs& args);
void AttentionBackward(const AttentionBackwardArgs& args);

namespace ref {
void AttentionForward(const AttentionForwardArgs& args);
void AttentionBackward(const AttentionBackwardArgs& args);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_ATTENTION_H_
