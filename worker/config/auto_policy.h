#ifndef FILIGREE_WORKER_CONFIG_AUTO_POLICY_H_
#define FILIGREE_WORKER_CONFIG_AUTO_POLICY_H_

#include "worker/config/settings.h"

// What "auto" means in the section `sparsity`: which regime a run has, how large a reserve, and from where its
// densities fall. It rests on runs at three densities (docs/policy.md has the evidence; docs/results/convergence.md the
// figures); between them the border is the geometric mean.
//
//   f_w                      regime    candidates c   starts at   reaches f at
//   above 1/16               exact     4              dense       50 % of the run (the paper's way)
//   1/16 to 1/32             active    1.25           f           -
//   below 1/32 to 1/128      active    2              2 f         60 %
//   below 1/128              active    4              4 f         60 %
//
// Where the active regime is asked for above 1/16 it starts at 4 f as well.
//
// Threads: pure functions.

namespace filigree::config {

// What sparsity.regime = "auto" means for these settings, of which others may be "auto" too. Where the start is given:
// active where c times it is below 1, so that no matrix exists as a whole; a run that begins dense is the paper's.
Regime BetterRegime(const SparsitySettings& settings);

// For a run that begins with another model's weights: a start that is "auto" is dense, as any other would throw away
// all but the largest of them before the first step. (A model that is sparse already may start where it ends.)
void StartDense(SparsitySettings& settings);

// Everything that is "auto" gets its value; the regime first, as the others follow it.
void FillPolicy(SparsitySettings& settings);

// Everything that is "auto" gets the value that it has in `of`, whose settings are resolved.
void KeepPolicy(const SparsitySettings& of, SparsitySettings& settings);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_AUTO_POLICY_H_
