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
//                layer's tiles); tokens >= 1, any K in [1, 256]; padding past `tokens` may be read but must be finite;
//                it never reaches a real token.
// stats          2 * 64 * tiles floats, written by forward and read by backward: what is needed to recompute p.
// kept           backward: per tile K words (tile i at kept + i * kept_stride), null: all kept. Entries not kept get 0.
// Writes         all of y, dq, dk, dv, over all tiles (padding gets finite values, gradients there 0 if dy is 0 there);
//                dsink is accumulated (one float). dq may not overlap the inputs.
// Determinism    bitwise, the same in AVX2 and AVX-512.

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
