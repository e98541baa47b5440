#ifndef FILIGREE_WORKER_TRAIN_REFRESH_MEMORY_H_
#define FILIGREE_WORKER_TRAIN_REFRESH_MEMORY_H_

#include <cstdint>
#include <vector>

#include "worker/config/settings.h"
#include "worker/model/registry.h"
#include "worker/train/rank_layout.h"

// When a run needs the most, and what it takes to change what exists.

namespace filigree::train {

// Steps of which one needs as much as any from `from` on, ascending. As densities go one way all a run's life, that is
// the first or the last, or of those at whose end candidates change, or one at which something takes another form: a
// matrix leaves its dense phase (from then on it has positions, and the form they are computed in, of nearly all its
// entries), or has so few entries that it is compressed.
std::vector<int64_t> StepsOfMostMemory(const config::Settings& settings, const model::Registry& registry, int64_t from);

// Bytes that are held only while candidates change. before, after: what exists then.
int64_t MemoryOfRefresh(const model::Registry& registry, const RankLayout& before, const RankLayout& after,
                        int threads);

// Bytes that a run in the active regime holds while it takes its first candidates from the weights of another model
// (ChooseFirstCandidates): more than a step where those are dense and few of them become candidates. 0: it takes none.
// given: what of every tensor exists before.
struct GivenTensor {
  int64_t values = 0;
  bool on_candidates = false;
};
int64_t MemoryOfFirstChoice(const config::Settings& settings, const model::Registry& registry,
                            const std::vector<GivenTensor>& given, int threads);

// Entries that the mask of step s leaves a tensor; all where it has none.
int64_t KeptAfter(const config::Settings& settings, const model::TensorInfo& info, int64_t s);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_REFRESH_MEMORY_H_
