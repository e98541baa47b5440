#ifndef FILIGREE_WORKER_TRAIN_CANDIDATES_H_
#define FILIGREE_WORKER_TRAIN_CANDIDATES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/config/settings.h"
#include "worker/train/evidence.h"
#include "worker/train/ownership.h"
#include "worker/train/state.h"

// The candidate sets of a run in the active regime: how they begin and how they change (docs/policy.md).
//
//   |C| = min(numel, floor(c * k))         k: entries of the mask, at the density of the step
//
// With sparsity.scope "global" a matrix of the layers keeps a share n of all their k's that is not its own k. Its
// reserve stays what its own k asks for, so that all sets together are as large as ever, and every matrix can grow:
//
//   |C| = min(numel, n + floor(c * k) - k)     where floor(c * k) < numel; else numel
//
// At the beginning, when n is not known, it has floor(c * k) as well.
//
// Where that is the whole matrix the matrix stays whole as long as sparsity.dense_phase is on (the dense phase of a run
// that anneals), else it exists on candidates from the first step.

namespace filigree::train {

// May this tensor exist on candidates? Matrices that follow a density; sparse biases stay whole, they are small.
bool MayHaveCandidates(const model::TensorInfo& info);

// |C| of every tensor, of which `kept` entries are in its mask, at a refresh of step s: k is the schedule's, or what
// the mask keeps where that is more. 0: it has no candidates.
std::vector<int64_t> WantedCandidates(const config::Settings& settings, const model::Registry& registry, int64_t s,
                                      const std::vector<int64_t>& kept);

// How many newcomers the refresh after step s has room for in a matrix on candidates: those dropped from its reserve.
int64_t NewcomersOf(const config::Settings& settings, const model::TensorInfo& info, int64_t s);

// Do the candidates change after step s?
bool RefreshDue(const config::Settings& settings, int64_t s);

// A run at its first step: initial weights drawn, those outside the candidate sets never formed. A run that starts
// sparse keeps the largest of every matrix's draw as candidates, and the largest of these as its mask.
std::unique_ptr<TrainState> BeginActive(const model::ModelSpec& spec, const config::Settings& settings,
                                        kernels::ThreadPool& pool);

// Does this tensor exist on candidates from the first step, and on how many then? 0: it begins whole.
int64_t FirstCandidates(const config::Settings& settings, const model::TensorInfo& info);

// On how many candidates this tensor exists when step s begins, as the schedule has it; 0: it is whole.
int64_t CandidatesBefore(const config::Settings& settings, const model::TensorInfo& info, int64_t s);

// |C| of a tensor that may have candidates, at the density of step s: as many as it has entries where it is whole then.
int64_t CandidatesAt(const config::Settings& settings, const model::TensorInfo& info, int64_t s);

// For a run at its first step whose weights are there, another model's or drawn whole: candidates and mask become the
// largest of them. Where a matrix that is on candidates has fewer than are wanted the rest is drawn, all alike.
void ChooseFirstCandidates(const config::Settings& settings, kernels::ThreadPool& pool, TrainState& state);

// After the mask of step s: the less useful half of every reserve makes room for newcomers; a whole matrix whose
// candidates have become fewer than its entries leaves its dense phase, and leaves it anyway where there is to be none.
// `evidence`: what the step saw of its gradient; null: newcomers are drawn all alike. Where matrices have owners these
// form their sets, and all have them afterwards: collective then. Errors: those of Ownership::GatherCandidates, and the
// state is as it was.
absl::Status RefreshCandidates(const config::Settings& settings, int64_t s, const Evidence* evidence,
                               const Ownership& ownership, kernels::ThreadPool& pool, TrainState& state);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_CANDIDATES_H_
