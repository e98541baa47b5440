#ifndef FILIGREE_WORKER_TRAIN_OWNERSHIP_H_
#define FILIGREE_WORKER_TRAIN_OWNERSHIP_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "worker/comm/communicator.h"
#include "worker/config/settings.h"
#include "worker/exchange/distributed_select.h"
#include "worker/exchange/traffic.h"
#include "worker/mask/mask_set.h"
#include "worker/model/arena.h"
#include "worker/model/registry.h"
#include "worker/optim/optimizer.h"
#include "worker/parallel/grid.h"
#include "worker/parallel/progress.h"

// Who of several ranks updates what. Every sparsified matrix has one owner (worker/exchange/owners.h), who alone gets
// the whole of its gradient, updates it, chooses its mask (with sparsity.scope "global" all owners agree on the
// threshold) and new candidates, and holds its moments. What all need of it travels: sums of squares of the gradient,
// the weights that survive, candidates that change. Everything else every rank updates itself.
//
//   ranks that share a model   owners are ranks of a tensor-parallel group, in both regimes; every group has them. But
//                              not in the active regime with sparsity.scope "global", where one rank chooses a
//                              threshold among all candidates
//   other ranks                owners are data-parallel ranks, in the exact regime over parallel.exchange "tree"

namespace filigree::train {

// One entry a tensor of the whole model: its owner, a tensor-parallel rank where ranks share the model, else a
// data-parallel one; -1: none. Empty where ranks do not divide the update. The same on every rank.
std::vector<int> OwnersIn(const config::Settings& settings, const model::Registry& registry,
                          const parallel::Grid& grid);

// The ranks among whom owners are, as a rank of the grid sees them.
struct OwningRanks {
  int rank = 0, size = 1;
};
OwningRanks OwningRanksOf(const parallel::Grid& grid, int rank);

// Of which tensors a rank of the grid holds the moments; empty: of all.
std::vector<bool> HeldBy(const config::Settings& settings, const model::Registry& registry, const parallel::Grid& grid,
                         int rank);

// The rank of the whole grid that writes a tensor, -1: any; empty where nobody owns anything. Of an owner in each of
// several groups that share a model the groups write in turn.
std::vector<int> WritersOf(const std::vector<int>& owners, const parallel::Grid& grid);

// What owners have in step s, for forecasts.
std::vector<exchange::OwnedMatrix> OwnedMatrices(const config::Settings& settings, const model::Registry& registry,
                                                 const std::vector<int>& owners, int64_t s);

// Of these, those that share a threshold in step s. Empty: none has a mask, or each has a threshold of its own.
std::vector<exchange::OwnedMatrix> SharingMatrices(const config::Settings& settings, const model::Registry& registry,
                                                   const std::vector<int>& owners, int64_t s);

class Ownership {
 public:
  // Nobody owns anything: this rank updates all tensors, and nothing travels.
  Ownership() = default;
  // Borrows all. owners: as OwnersIn gives them; ranks: those among whom they are; progress: told while this rank
  // waits, or null.
  Ownership(std::vector<int> owners, comm::Communicator& ranks, parallel::Progress* progress);

  // Of this one among those that own; 0 where nobody owns anything.
  int rank() const { return owners_.empty() ? 0 : ranks_->rank(); }
  // -1: nobody.
  int owner(int tensor) const { return owners_.empty() ? -1 : owners_[tensor]; }
  // Do some tensors have an owner?
  bool divided() const { return !owners_.empty(); }
  // Does this rank update the tensor, and hold its moments? What has no owner, all do.
  bool Updates(int tensor) const { return owner(tensor) < 0 || owner(tensor) == ranks_->rank(); }
  const std::vector<int>& owners() const { return owners_; }

  // Of a gradient whose sum stands where it is updated: the bits of optim::MeasureGradient on the whole of it, the same
  // on every rank, so that all decide alike about the step: what nobody owns the first of them measures. Collective.
  // Errors: those of the communicator.
  absl::StatusOr<optim::GradientSize> Measure(const model::Arena& gradient, kernels::ThreadPool& pool) const;

  // The masks of step's weights at densities `f`, of those tensors that this rank updates; kept entries decay
  // (worker/mask/mask_set.h). Where matrices share a threshold and have owners, these agree on it
  // (worker/exchange/distributed_select.h): collective then, with the errors of the communicator, and weights and masks
  // are unspecified after one. The masks are those that a rank alone chooses.
  absl::Status ChooseMasks(const mask::Densities& f, float decay, kernels::ThreadPool& pool, model::Arena& weights,
                           mask::MaskSet& masks);

  // After the owners' updates and masks, chosen at densities `f`: weights and masks of all matrices as their owners
  // have them. Collective. Errors: those of the communicator, InvalidArgument where bytes that arrive do not fit;
  // weights and masks of others' matrices are then unspecified.
  absl::Status GatherWeights(const mask::Densities& f, const model::Registry& registry, kernels::ThreadPool& pool,
                             model::Arena& weights, mask::MaskSet& masks) const;

  // After a refresh: new candidate sets, of which every owner has formed its own, on every rank. Collective. Errors:
  // those of the communicator, InvalidArgument where bytes that arrive do not fit.
  struct NewSet {
    int tensor;
    int64_t entries;
    kernels::Pattern* pattern;  // in: of what this rank updates; out: of all
  };
  absl::Status GatherCandidates(std::span<const NewSet> sets, const model::Registry& registry,
                                kernels::ThreadPool& pool) const;

  // What nothing in training needs: all owners' matrices of another arena of the same layout, moments or the gradient,
  // to every rank, for whoever looks at a run from outside. Collective. Errors: those of the communicator.
  absl::Status GatherArena(model::Arena& arena) const;

 private:
  absl::Status ChooseTogether(const std::vector<int>& tensors, const mask::Densities& f, float decay,
                              kernels::ThreadPool& pool, model::Arena& weights, mask::MaskSet& masks);
  int measurer(int tensor) const { return std::max(owner(tensor), 0); }
  absl::Status GatherBlockSums(const model::Layout& layout, std::vector<double>& sums) const;
  absl::Status GatherWhole(int tensor, model::Arena& weights) const;
  absl::Status GatherMasked(const std::vector<int>& tensors, const model::Registry& registry, kernels::ThreadPool& pool,
                            model::Arena& weights, mask::MaskSet& masks) const;

  std::vector<int> owners_;
  comm::Communicator* ranks_ = nullptr;
  parallel::Progress* progress_ = nullptr;
  std::unique_ptr<exchange::DistributedSelect> select_;  // with the last threshold; null: there was none
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_OWNERSHIP_H_
