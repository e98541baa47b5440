#include "worker/plan/plan.h"

#include <algorithm>
#include <string>

#include "fmt/format.h"
#include "worker/train/rank_layout.h"

namespace filigree::plan {
namespace {

RankPlan PlanRank(const model::ModelSpec& spec, const config::Settings& settings, const RunPlan& plan, int rank,
                  int64_t from) {
  RankPlan out;
  out.rank = rank;
  out.host = rank / plan.ranks_per_host;
  out.slot = rank % plan.ranks_per_host;
  out.data_rank = plan.grid.data_rank(rank);
  out.tensor_rank = plan.grid.tensor_rank(rank);
  out.leaves = parallel::LeavesOf(settings.train.shards, out.data_rank, plan.grid.data);
  for (int64_t leaf = out.leaves.begin; leaf < out.leaves.end; ++leaf) {
    out.sequences += train::SequencesOf(settings, leaf);
  }
  out.first_group = spec.FirstGroup({out.tensor_rank, plan.grid.tensor});
  out.groups = spec.tensor_groups / plan.grid.tensor;
  out.memory = train::MemoryOfRank(spec, settings, plan.grid, rank, from);
  out.traffic = TrafficOfRank(spec, settings, plan.grid, rank);
  return out;
}

// A rank may use its host's memory divided by the ranks there, as it will when it starts; the first that cannot do with
// that says what would fit.
absl::Status Fits(const model::ModelSpec& spec, const config::Settings& settings, const RunPlan& plan, int64_t from) {
  for (const RankPlan& rank : plan.ranks) {
    const int64_t first = int64_t{rank.host} * plan.ranks_per_host;
    const int64_t here = std::min<int64_t>(plan.ranks_per_host, std::ssize(plan.ranks) - first);
    const absl::Status fits = train::CheckMemory(spec, settings, plan.available / here, plan.grid, rank.rank, from);
    if (fits.ok()) continue;
    return absl::InvalidArgumentError(
        fmt::format("rank {} of {} on host {}: {}", rank.rank, here, rank.host, std::string(fits.message())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunPlan> PlanRun(const model::ModelSpec& spec, const config::Settings& settings,
                                const PlanOptions& options) {
  const int64_t wanted = std::max<int64_t>(1, settings.parallel.data) * settings.parallel.tensor;
  const int ranks = options.ranks > 0 ? options.ranks : static_cast<int>(wanted);
  const absl::StatusOr<parallel::Grid> grid = parallel::FitGrid(settings, ranks);
  if (!grid.ok()) return grid.status();
  RunPlan plan;
  plan.grid = *grid;
  plan.ranks_per_host = options.ranks_per_host > 0 ? std::min(options.ranks_per_host, ranks) : ranks;
  plan.available = options.available;
  plan.ranks.reserve(ranks);
  for (int rank = 0; rank < ranks; ++rank) plan.ranks.push_back(PlanRank(spec, settings, plan, rank, options.from));
  const model::Registry registry(spec);
  const train::RankLayout first(registry, settings, registry);
  plan.elements = first.elements();
  plan.dense_equivalent = DenseEquivalent(spec, plan.grid);
  bool on_candidates = false;
  for (int t = 0; t < registry.size(); ++t) on_candidates = on_candidates || first.candidates(t) > 0;
  plan.even_share = plan.grid.tensor > 1 && on_candidates;
  plan.fits = Fits(spec, settings, plan, options.from);
  return plan;
}

}  // namespace filigree::plan
