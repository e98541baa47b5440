#ifndef FILIGREE_WORKER_TRAIN_RANK_LAYOUT_H_
#define FILIGREE_WORKER_TRAIN_RANK_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "worker/config/settings.h"
#include "worker/exchange/traffic.h"
#include "worker/model/registry.h"
#include "worker/model/spec.h"
#include "worker/parallel/grid.h"

namespace filigree::train {

// How many values of each tensor a rank computes with when step s begins, before anything is allocated: those that
// model::Layout will hold. Of a matrix on candidates that ranks share each is given its share of the entries: which of
// them are candidates depends on the weights drawn.
class RankLayout {
 public:
  // part: the registry of one of the ranks that share the model; that of the whole itself for a rank alone.
  RankLayout(const model::Registry& whole, const config::Settings& settings, const model::Registry& part,
             int64_t s = 0);

  int64_t stored(int tensor) const { return stored_[tensor]; }
  int64_t candidates(int tensor) const { return candidates_[tensor]; }  // 0: it is whole
  int64_t elements() const;                                             // stored, of all tensors
  int64_t offset(int tensor) const { return offsets_[tensor]; }
  int64_t floats() const { return floats_; }  // of an arena, with padding between tensors

 private:
  std::vector<int64_t> stored_, candidates_, offsets_;
  int64_t floats_ = 0;
};

// The gradients of a rank with this layout, of whose model `part` is the registry; sequences of so many positions.
exchange::GradientShape GradientShapeOf(const RankLayout& layout, const model::Registry& part,
                                        const config::Settings& settings, int64_t positions);

// Values of the gradient that the ranks of a tensor group exchange (model_shard.h), as one of them sees it.
struct GroupGradient {
  std::vector<int64_t> for_all;    // of each rank: what has no owner
  std::vector<int64_t> to_owners;  // of this rank, by owner: its parts of what is owned
  std::vector<int64_t> from;       // of each rank: its parts of what this one owns
};
GroupGradient GroupGradientOf(const model::ModelSpec& spec, const config::Settings& settings, const model::Shard& shard,
                              const std::vector<int>& owners, int64_t s = 0);

// Sequences of the largest of these logical shards.
int64_t LargestShard(const config::Settings& settings, const parallel::LeafRange& leaves);

// Those of the one logical shard.
int64_t SequencesOf(const config::Settings& settings, int64_t leaf);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_RANK_LAYOUT_H_
