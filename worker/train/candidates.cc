#include "worker/train/candidates.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/mask/refresh.h"
#include "worker/model/initial_draw.h"

namespace filigree::train {
namespace {

using model::TensorInfo;

int64_t KeptAt(const TensorInfo& info, const mask::Densities& densities) {
  const bool embedding = info.density == model::Density::kEmbedding;
  return mask::KeptEntries(embedding ? densities.embedding : densities.weight, info.numel());
}

int64_t CandidatesOf(const config::SparsitySettings& settings, int64_t k, int64_t numel) {
  return std::clamp(static_cast<int64_t>(settings.candidates * static_cast<double>(k)), k, numel);
}

mask::Densities DensitiesOf(const config::Settings& settings, int64_t s) {
  const int64_t last = settings.run.steps - 1;
  return mask::DensitiesAt(settings.sparsity, settings.run.steps, std::clamp<int64_t>(s, 0, last));
}

bool SharesThreshold(const config::Settings& settings, const TensorInfo& info) {
  return settings.sparsity.scope == config::MaskScope::kGlobal && info.density == model::Density::kWeight;
}

// The entries that every unit should have: those of min alive, at the k that a mask has, or should have had where too
// few entries exist.
int64_t UnitCandidates(const config::Settings& settings, const TensorInfo& info, int64_t s, int64_t kept) {
  const int64_t own = KeptAt(info, DensitiesOf(settings, s));
  const int64_t k = SharesThreshold(settings, info) ? own : std::max(kept, own);
  return mask::EffectiveMinAlive(info, k, settings.sparsity.min_alive).j;
}

// |C| of a matrix whose mask is a share of what several keep.
int64_t SharingCandidates(const config::SparsitySettings& settings, int64_t k, int64_t share, int64_t numel) {
  const int64_t whole = CandidatesOf(settings, k, numel);
  return whole == numel ? numel : std::min(numel, share + whole - k);
}

// The mask of a changed set: what was kept and is still there, which is everything that was kept.
kernels::Buffer<uint64_t> MovedMask(const uint64_t* kept, const kernels::Buffer<uint32_t>& source) {
  kernels::Buffer<uint64_t> moved((source.size() + 63) / 64);
  for (size_t e = 0; e < source.size(); ++e) {  // without branches on who is new, as that is chance
    const uint64_t is_old = source[e] != model::kNoSource ? 1 : 0;
    const uint32_t from = is_old != 0 ? source[e] : 0;
    const uint64_t bit = kept == nullptr ? 1 : kept[from / 64] >> (from % 64);
    moved[e / 64] |= (bit & is_old) << (e % 64);
  }
  return moved;
}

// One matrix whose candidates change.
struct Job {
  int tensor;
  int64_t wanted;
  EvidenceOf evidence;
  mask::Membership next;
  kernels::Buffer<uint64_t> mask;  // on them
};

// New sets of others' matrices: what was there before stays where it is, and every newcomer begins with weight 0. A
// weight outside the mask is 0 already, so that it does not matter who of the reserve left and came back.
void TakeOthersSets(const Ownership& ownership, const TrainState& state, std::vector<Job>& jobs) {
  for (Job& job : jobs) {
    if (ownership.Updates(job.tensor)) continue;
    job.next.source = model::SourcesOf(state.layout->candidates(job.tensor), job.next.pattern.view());
  }
}

mask::Membership NextMembership(const config::Settings& settings, int64_t s, const Job& job, kernels::ThreadPool& pool,
                                const TrainState& state) {
  const int t = job.tensor;
  const int64_t wanted = job.wanted;
  const TensorInfo& info = state.registry[t];
  const kernels::PatternView* candidates = state.layout->candidates(t);
  const float* m = state.optimizer.m().tensor(info);
  const float* v = state.optimizer.v().tensor(info);
  if (candidates == nullptr) {
    return mask::Narrow({static_cast<int>(info.rows), static_cast<int>(info.cols), m, v, state.masks.kept(t), wanted,
                         settings.optim.eps},
                        pool);
  }
  const EvidenceOf& found = job.evidence;
  mask::RefreshInput input;
  input.pattern = *candidates;
  input.m = m;
  input.v = v;
  input.kept = state.masks.kept(t);
  input.candidates = wanted;
  input.eps = settings.optim.eps;
  input.drop = settings.sparsity.drop;
  input.row_weight = found.rows.empty() ? nullptr : found.rows.data();
  input.col_weight = found.columns.empty() ? nullptr : found.columns.data();
  input.ranked = found.ranked;
  input.line_reserve = static_cast<int>(settings.sparsity.line_reserve);
  input.unit = info.unit;
  input.unit_candidates = static_cast<int>(UnitCandidates(settings, info, s, state.masks.nonzeros(t)));
  input.seed = static_cast<uint64_t>(settings.run.seed);
  input.stream = kernels::StreamOf((info.name + "/newcomers").c_str());
  input.step = s;
  return mask::Refresh(input, pool);
}

std::vector<int64_t> KeptNow(const TrainState& state) {
  std::vector<int64_t> kept;
  kept.reserve(state.registry.size());
  for (int t = 0; t < state.registry.size(); ++t) kept.push_back(state.masks.nonzeros(t));
  return kept;
}

// |C| at the beginning, where `kept` entries are in the mask. Shares do not count yet: a run that draws its candidates
// knows them only afterwards.
std::vector<int64_t> FirstCandidatesOf(const config::Settings& settings, const model::Registry& registry,
                                       const std::vector<int64_t>& kept) {
  const mask::Densities f = DensitiesOf(settings, 0);
  std::vector<int64_t> wanted(registry.size());
  for (const TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const int64_t k = KeptAt(info, f), now = kept[info.index];
    wanted[info.index] = SharesThreshold(settings, info)
                             ? std::max(now, CandidatesOf(settings.sparsity, k, info.numel()))
                             : CandidatesOf(settings.sparsity, std::max(now, k), info.numel());
  }
  return wanted;
}

// The matrices that change, the largest first.
std::vector<Job> JobsOf(const config::Settings& settings, const Evidence* evidence,
                        const std::vector<int64_t>& all_wanted, const Ownership& ownership, kernels::ThreadPool& pool,
                        const TrainState& state) {
  std::vector<Job> jobs;
  for (const TensorInfo& info : state.registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const int t = info.index;
    const int64_t wanted = all_wanted[t];
    const bool whole = state.layout->candidates(t) == nullptr;
    if (wanted == info.numel() && state.layout->stored(t) == info.numel() &&
        (!whole || settings.sparsity.dense_phase)) {
      continue;
    }
    jobs.push_back({t, wanted, {}, {}, {}});
    if (evidence != nullptr && !whole && ownership.Updates(t)) jobs.back().evidence = evidence->Of(info, wanted, pool);
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.wanted > b.wanted; });
  return jobs;
}

// The next sets of what this rank updates. Threads share the matrices, as within one much of a refresh is a single pass
// after another; but for those that are more than a thread's share of all, and whole ones, which take memory of their
// own size.
void FormSets(const config::Settings& settings, int64_t s, const Ownership& ownership, kernels::ThreadPool& pool,
              const TrainState& state, std::vector<Job>& jobs) {
  const auto run = [&](Job& job, kernels::ThreadPool& threads) {
    job.next = NextMembership(settings, s, job, threads, state);
  };
  int64_t all = 0;
  for (const Job& job : jobs) all += ownership.Updates(job.tensor) ? job.wanted : 0;
  std::vector<Job*> shared;
  for (Job& job : jobs) {
    if (!ownership.Updates(job.tensor)) continue;
    const bool large = job.wanted > all / pool.threads() || state.layout->candidates(job.tensor) == nullptr;
    large ? run(job, pool) : shared.push_back(&job);
  }
  pool.Run(std::ssize(shared), [&](int64_t i, int) {
    kernels::ThreadPool alone(1);
    run(*shared[i], alone);
  });
}

// New sets of these sizes, and the masks on them.
absl::Status ChangeCandidates(const config::Settings& settings, int64_t s, const Evidence* evidence,
                              const std::vector<int64_t>& all_wanted, const Ownership& ownership,
                              kernels::ThreadPool& pool, TrainState& state) {
  std::vector<Job> jobs = JobsOf(settings, evidence, all_wanted, ownership, pool, state);
  if (jobs.empty()) return absl::OkStatus();
  FormSets(settings, s, ownership, pool, state, jobs);
  std::vector<Ownership::NewSet> sets;
  sets.reserve(jobs.size());
  for (Job& job : jobs) sets.push_back({job.tensor, job.wanted, &job.next.pattern});
  if (absl::Status status = ownership.GatherCandidates(sets, state.registry, pool); !status.ok()) return status;
  TakeOthersSets(ownership, state, jobs);
  pool.Run(std::ssize(jobs),
           [&](int64_t i, int) { jobs[i].mask = MovedMask(state.masks.kept(jobs[i].tensor), jobs[i].next.source); });
  std::vector<TrainState::Change> changes;
  changes.reserve(jobs.size());
  for (Job& job : jobs) changes.push_back({job.tensor, std::move(job.next.pattern), std::move(job.next.source)});
  state.ChangeCandidates(std::move(changes), pool);
  for (const Job& job : jobs) {
    state.masks.Restore(job.tensor, job.mask.data(), state.layout->stored(job.tensor),
                        state.masks.threshold(job.tensor));
  }
  return absl::OkStatus();
}

}  // namespace

bool MayHaveCandidates(const TensorInfo& info) {
  return info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
}

std::vector<int64_t> WantedCandidates(const config::Settings& settings, const model::Registry& registry, int64_t s,
                                      const std::vector<int64_t>& kept) {
  const mask::Densities f = DensitiesOf(settings, s);
  int64_t shared = 0, shared_k = 0;
  for (const TensorInfo& info : registry.tensors()) {
    if (!SharesThreshold(settings, info)) continue;
    shared += kept[info.index];
    shared_k += KeptAt(info, f);
  }
  std::vector<int64_t> wanted(registry.size());
  for (const TensorInfo& info : registry.tensors()) {
    if (!MayHaveCandidates(info)) continue;
    const int64_t k = KeptAt(info, f), now = kept[info.index];
    if (SharesThreshold(settings, info)) {
      // Where too few entries exist for the masks, all sets have to grow.
      const int64_t share = shared < shared_k ? std::max(now, k) : now;
      wanted[info.index] = SharingCandidates(settings.sparsity, k, share, info.numel());
    } else {
      wanted[info.index] = CandidatesOf(settings.sparsity, std::max(now, k), info.numel());
    }
  }
  return wanted;
}

int64_t NewcomersOf(const config::Settings& settings, const TensorInfo& info, int64_t s) {
  const int64_t k = KeptAt(info, DensitiesOf(settings, s));
  const int64_t candidates = CandidatesAt(settings, info, s), reserve = candidates - k;
  if (candidates == info.numel()) return 0;
  return reserve - static_cast<int64_t>((1 - settings.sparsity.drop) * static_cast<double>(reserve));
}

int64_t CandidatesAt(const config::Settings& settings, const TensorInfo& info, int64_t s) {
  return CandidatesOf(settings.sparsity, KeptAt(info, DensitiesOf(settings, s)), info.numel());
}

bool RefreshDue(const config::Settings& settings, int64_t s) {
  const int64_t every = settings.sparsity.refresh_every;
  return settings.sparsity.regime == config::Regime::kActive && every > 0 && (s + 1) % every == 0;
}

int64_t FirstCandidates(const config::Settings& settings, const TensorInfo& info) {
  if (settings.sparsity.regime != config::Regime::kActive || !MayHaveCandidates(info)) return 0;
  const mask::Densities densities = mask::DensitiesAt(settings.sparsity, settings.run.steps, 0);
  const int64_t wanted = CandidatesOf(settings.sparsity, KeptAt(info, densities), info.numel());
  return wanted == info.numel() && settings.sparsity.dense_phase ? 0 : wanted;
}

int64_t CandidatesBefore(const config::Settings& settings, const TensorInfo& info, int64_t s) {
  const int64_t first = FirstCandidates(settings, info), every = settings.sparsity.refresh_every;
  if (settings.sparsity.regime != config::Regime::kActive || !MayHaveCandidates(info)) return 0;
  if (every == 0 || s < every) return first;
  const int64_t now = CandidatesAt(settings, info, s / every * every - 1);
  return now == info.numel() && first == 0 && settings.sparsity.dense_phase ? 0 : now;
}

void ChooseFirstCandidates(const config::Settings& settings, kernels::ThreadPool& pool, TrainState& state) {
  const mask::Densities densities = mask::DensitiesAt(settings.sparsity, settings.run.steps, 0);
  // A refresh ranks by first moments: for once they are the weights.
  model::Arena& m = state.optimizer.m();
  std::copy_n(state.weights.data(), m.size(), m.data());
  state.masks.UpdateTensors(densities, /*decay=*/1, pool, state.weights,
                            [&](int tensor) { return FirstCandidates(settings, state.registry[tensor]) > 0; });
  config::Settings keep_all = settings;
  keep_all.sparsity.drop = 0;
  keep_all.optim.eps = 1;  // v is 0: their rank is |w| itself, to the last bit
  const std::vector<int64_t> wanted = FirstCandidatesOf(settings, state.registry, KeptNow(state));
  absl::Status changed = ChangeCandidates(keep_all, /*s=*/-1, /*evidence=*/nullptr, wanted, Ownership(), pool, state);
  CHECK(changed.ok(), "a rank alone: {}", changed.ToString());
  std::fill_n(m.data(), m.size(), 0.0f);
}

std::unique_ptr<TrainState> BeginActive(const model::ModelSpec& spec, const config::Settings& settings,
                                        kernels::ThreadPool& pool) {
  const model::Registry registry(spec);
  const mask::Densities densities = mask::DensitiesAt(settings.sparsity, settings.run.steps, 0);
  const auto seed = static_cast<uint64_t>(settings.run.seed);
  const auto layout = std::make_shared<model::Layout>(registry.numels());
  std::vector<model::Layout::Change> changes;
  std::vector<kernels::Buffer<float>> drawn(registry.size());  // empty: drawn whole
  for (const TensorInfo& info : registry.tensors()) {
    const int64_t wanted = FirstCandidates(settings, info);
    if (wanted == 0) continue;
    if (wanted == info.numel()) {
      changes.push_back({info.index, kernels::Pattern::Full(static_cast<int>(info.rows), static_cast<int>(info.cols))});
      continue;
    }
    const int64_t j = mask::EffectiveMinAlive(info, KeptAt(info, densities), settings.sparsity.min_alive).j;
    model::InitialDraw draw = model::DrawLargest(info, seed, wanted, j, pool);
    drawn[info.index] = std::move(draw.values);
    changes.push_back({info.index, std::move(draw.pattern)});
  }
  layout->Apply(std::move(changes));
  auto state = std::make_unique<TrainState>(spec, settings, layout);
  model::InitialiseWeights(state->registry, seed, pool, state->weights);
  for (const TensorInfo& info : state->registry.tensors()) {
    const kernels::Buffer<float>& values = drawn[info.index];
    std::copy(values.begin(), values.begin() + (values.empty() ? 0 : layout->stored(info.index)),
              state->weights.tensor(info));
  }
  state->masks.UpdateTensors(densities, /*decay=*/1, pool, state->weights,
                             [&](int tensor) { return !drawn[tensor].empty(); });
  return state;
}

absl::Status RefreshCandidates(const config::Settings& settings, int64_t s, const Evidence* evidence,
                               const Ownership& ownership, kernels::ThreadPool& pool, TrainState& state) {
  return ChangeCandidates(settings, s, evidence, WantedCandidates(settings, state.registry, s, KeptNow(state)),
                          ownership, pool, state);
}

}  // namespace filigree::train
