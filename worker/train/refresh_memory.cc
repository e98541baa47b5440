#include "worker/train/refresh_memory.h"

#include <algorithm>
#include <functional>

#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/model/linear.h"
#include "worker/train/candidates.h"

namespace filigree::train {
namespace {

// The first step in [from, steps) of which `is` says so, where it says so of all later ones; steps: none.
int64_t First(int64_t from, int64_t steps, const std::function<bool(int64_t)>& is) {
  int64_t not_yet = from - 1, found = steps;
  while (not_yet + 1 < found) {
    const int64_t middle = not_yet + (found - not_yet) / 2;
    (is(middle) ? found : not_yet) = middle;
  }
  return found;
}

// A tensor that has candidates afterwards.
struct Change {
  int64_t before = 0, after = 0;  // values
  bool was_whole = false;
};

// Where who stays is found out: a float an entry, of a whole matrix or a large set alone, of small ones as many at once
// as there are threads (candidates.cc).
int64_t EntriesRanked(const std::vector<Change>& changes, int threads) {
  int64_t all = 0, alone = 0;
  for (const Change& change : changes) all += change.after;
  std::vector<int64_t> shared;
  for (const Change& change : changes) {
    if (change.was_whole || change.after > all / threads) {
      alone = std::max(alone, change.before);
    } else {
      shared.push_back(change.before);
    }
  }
  std::sort(shared.begin(), shared.end(), std::greater<>());
  int64_t together = 0;
  for (size_t i = 0; i < shared.size() && i < static_cast<size_t>(threads); ++i) together += shared[i];
  return std::max(alone, together);
}

// All new sets, and then either what ranks the old ones, or a tensor on its way and, where values change their order,
// an arena beside the old one; one arena after another.
int64_t MemoryOfChange(const std::vector<Change>& changes, int64_t floats_after, int threads) {
  constexpr int64_t kFloat = sizeof(float), kColumn = 2, kSource = 4;
  int64_t sets = 0, largest = 0;
  bool in_place = true;  // every value moves towards the front of its arena
  for (const Change& change : changes) {
    sets += change.after;
    largest = std::max(largest, change.after);
    in_place = in_place && !change.was_whole && change.before >= change.after;
  }
  const int64_t moving = largest + (in_place ? 0 : floats_after);
  return sets * (kColumn + kSource) + sets / 8 + kFloat * std::max(EntriesRanked(changes, threads), moving);
}

}  // namespace

std::vector<int64_t> StepsOfMostMemory(const config::Settings& settings, const model::Registry& registry,
                                       int64_t from) {
  const int64_t steps = settings.run.steps;
  from = std::min(from, steps - 1);  // of a run that is over
  std::vector<int64_t> found = {from, steps - 1};
  const auto add = [&](int64_t s) { found.push_back(std::clamp(s, from, steps - 1)); };
  const int64_t every = std::max<int64_t>(1, settings.sparsity.refresh_every);
  const auto add_refresh_from = [&](int64_t s) { add((s / every + 1) * every - 1); };
  add_refresh_from(from);
  add(steps / every * every - 1);  // the last refresh
  for (const model::TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const int64_t leaves =
        First(from, steps, [&](int64_t s) { return CandidatesBefore(settings, info, s) > 0; });  // its dense phase
    add(leaves - 1);
    add(leaves);
    add_refresh_from(leaves);  // the first among candidates
    add(First(from, steps,
              [&](int64_t s) { return model::Linear::IsSparse(KeptAfter(settings, info, s), info.numel()); }));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

int64_t MemoryOfRefresh(const model::Registry& registry, const RankLayout& before, const RankLayout& after,
                        int threads) {
  std::vector<Change> changes;
  for (int t = 0; t < registry.size(); ++t) {
    if (after.candidates(t) > 0) changes.push_back({before.stored(t), after.stored(t), before.candidates(t) == 0});
  }
  return changes.empty() ? 0 : MemoryOfChange(changes, after.floats(), threads);
}

// Weights, and weights again as what candidates are ranked by; second moments are not touched meanwhile.
int64_t MemoryOfFirstChoice(const config::Settings& settings, const model::Registry& registry,
                            const std::vector<GivenTensor>& given, int threads) {
  constexpr int64_t kFloat = sizeof(float), kAsRead = 2 + 3 * kFloat;
  const RankLayout after(registry, settings, registry);
  std::vector<Change> changes;
  int64_t bytes = 0;
  for (int t = 0; t < registry.size(); ++t) {
    const GivenTensor& tensor = given[t];
    bytes += tensor.values * (2 * kFloat + (tensor.on_candidates ? kAsRead : 0));
    if (after.candidates(t) == 0) continue;
    bytes += tensor.values / 8;  // its mask
    changes.push_back({tensor.values, after.stored(t), !tensor.on_candidates});
  }
  return changes.empty() ? 0 : bytes + MemoryOfChange(changes, after.floats(), threads);
}

int64_t KeptAfter(const config::Settings& settings, const model::TensorInfo& info, int64_t s) {
  if (!MayHaveCandidates(info)) return info.numel();
  const mask::Densities f = mask::DensitiesAt(settings.sparsity, settings.run.steps, s);
  return mask::KeptEntries(info.density == model::Density::kEmbedding ? f.embedding : f.weight, info.numel());
}

}  // namespace filigree::train
