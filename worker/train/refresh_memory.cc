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

// Where who stays is found out: a float an entry, of a whole matrix or a large set alone, of small ones as many at once
// as there are threads (candidates.cc).
int64_t EntriesRanked(const model::Registry& registry, const RankLayout& before, const RankLayout& after, int threads) {
  int64_t all = 0, alone = 0;
  for (int t = 0; t < registry.size(); ++t) all += after.candidates(t);
  std::vector<int64_t> shared;
  for (int t = 0; t < registry.size(); ++t) {
    if (after.candidates(t) == 0) continue;
    if (before.candidates(t) == 0 || after.candidates(t) > all / threads) {
      alone = std::max(alone, before.stored(t));
    } else {
      shared.push_back(before.stored(t));
    }
  }
  std::sort(shared.begin(), shared.end(), std::greater<>());
  int64_t together = 0;
  for (size_t i = 0; i < shared.size() && i < static_cast<size_t>(threads); ++i) together += shared[i];
  return std::max(alone, together);
}

}  // namespace

std::vector<int64_t> StepsOfMostMemory(const config::Settings& settings, const model::Registry& registry,
                                       int64_t from) {
  const int64_t steps = settings.run.steps;
  from = std::min(from, steps - 1);  // of a run that is over
  std::vector<int64_t> found = {from, steps - 1};
  if (const int64_t every = settings.sparsity.refresh_every; every > 0) {
    for (const int64_t refresh : {(from / every + 1) * every - 1, steps / every * every - 1}) {
      if (from <= refresh && refresh < steps) found.push_back(refresh);
    }
  }
  for (const model::TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const int64_t leaves =
        First(from, steps, [&](int64_t s) { return CandidatesBefore(settings, info, s) > 0; });  // its dense phase
    for (const int64_t s : {std::max(from, leaves - 1), leaves}) found.push_back(std::min(s, steps - 1));
    found.push_back(std::min(steps - 1, First(from, steps, [&](int64_t s) {
                               return model::Linear::IsSparse(KeptAfter(settings, info, s), info.numel());
                             })));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

int64_t MemoryOfRefresh(const model::Registry& registry, const RankLayout& before, const RankLayout& after,
                        int threads) {
  constexpr int64_t kFloat = sizeof(float), kColumn = 2, kSource = 4;
  int64_t sets = 0, largest = 0;
  bool in_place = true;  // every value moves towards the front of its arena
  for (int t = 0; t < registry.size(); ++t) {
    if (after.candidates(t) == 0) continue;
    sets += after.candidates(t);
    largest = std::max(largest, after.candidates(t));
    in_place = in_place && before.candidates(t) >= after.candidates(t);
  }
  // All new sets, and then either what ranks the old ones, or a tensor on its way and, where values change their order,
  // an arena beside the old one; one arena after another.
  const int64_t moving = largest + (in_place ? 0 : after.floats());
  return sets * (kColumn + kSource) + sets / 8 +
         kFloat * std::max(EntriesRanked(registry, before, after, threads), sets == 0 ? 0 : moving);
}

int64_t KeptAfter(const config::Settings& settings, const model::TensorInfo& info, int64_t s) {
  if (!MayHaveCandidates(info)) return info.numel();
  const mask::Densities f = mask::DensitiesAt(settings.sparsity, settings.run.steps, s);
  return mask::KeptEntries(info.density == model::Density::kEmbedding ? f.embedding : f.weight, info.numel());
}

}  // namespace filigree::train
