#ifndef FILIGREE_TESTS_PARITY_BF16_BOUND_H_
#define FILIGREE_TESTS_PARITY_BF16_BOUND_H_

#include <cmath>

#include "worker/model/spec.h"

// How far activations that are kept as bf16 may take what a case computes, relative to its norm: bounds from the unit
// of bf16 alone, u = 2^-8, none of them fitted to a result.
//
// Rounding. A rounded value errs by at most u of itself, evenly distributed, in RMS u / sqrt(3). Six tensors of a layer
// are rounded on the way forward (attn_in, q k v, attn.y, mlp_in, pre_act, mlp_neuron) and each meets a gradient on the
// way back: R = 12 L errors that have nothing to do with each other, which norms and AbsTopK may make twice as large:
//
//   d = 2 u sqrt(R / 3)                      0.022 for two layers
//
// Selection. AbsTopK keeps another channel where two magnitudes are closer than their errors. Of draws from a normal
// distribution of which one in four is kept (the largest, beyond 1.15 deviations), a share of 1.9 e of the kept ones
// lies within a relative e of the threshold, and one that is replaced by its neighbour errs by sqrt(2) thresholds, or
// 1.0 times the RMS of what is kept: sqrt(1.9 e) of the norm. With e = d / 2, as errors of either sign replace:
//
//   s = sqrt(0.95 d)                         0.145 for two layers
//
// That is at one place, and what it does to values is an error at the next: two places of every layer lie on the path
// of the residual (attn_out, mlp_out), so values may be 2 L s away, and where zeros lie may differ in 2 s of the kept
// entries, twice (one leaves, one comes). A gradient passes through kept entries alone, and one that is replaced errs
// by itself and by its neighbour, whatever the threshold is: sqrt(2 * 2 s) of the norm.
//
// Training turns more masks with every step, and no bound on final weights follows from the unit: of training cases the
// schedules and every count of nonzeros must be exact, and losses within the bound of values.

namespace filigree::parity {

struct Bf16Bound {
  double value = 0, gradient = 0;  // relative to the norm
  double zeros_share = 0;          // entries zero on one side only, of those that are not zero
};

inline Bf16Bound BoundOfBf16(const model::ModelSpec& spec) {
  const double rounding = 2 * std::ldexp(1.0, -8) * std::sqrt(12.0 * spec.n_layer / 3);
  if (spec.afrac >= 1) return {rounding, rounding, 0};
  const double selection = std::sqrt(0.95 * rounding);
  return {rounding + 2 * spec.n_layer * selection, rounding + std::sqrt(4 * selection), 4 * selection};
}

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_BF16_BOUND_H_
