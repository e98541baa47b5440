#ifndef FILIGREE_WORKER_MASK_DENSITY_H_
#define FILIGREE_WORKER_MASK_DENSITY_H_

#include <cstdint>

#include "worker/config/settings.h"

// The densities of a step. With x = clamp((s - a) / (b - a), 0, 1), a = anneal_start * S, b = anneal_end * S (neither
// is rounded), all in double:
//
//   linear    f(s) = start + (final - start) * x
//   power     f(s) = final + (start - final) * (1 - x)^anneal_power
//   constant  f(s) = final
//
// Source: Gao et al. 2025, section 2; training.md of the project's specification.

namespace filigree::mask {

struct Densities {
  double weight = 1;     // f_w
  double embedding = 1;  // f_e
};

Densities DensitiesAt(const config::SparsitySettings& settings, int64_t steps, int64_t s);

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_DENSITY_H_
