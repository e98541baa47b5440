#include "worker/parallel/grid.h"

#include <algorithm>
#include <string>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace filigree::parallel {
namespace {

// What keeps a grid from training this model; empty: nothing.
std::string Obstacle(const config::Settings& settings, const Grid& grid) {
  if (grid.data > settings.train.shards) {
    return fmt::format("every data-parallel rank needs a logical shard, and train.shards is {}", settings.train.shards);
  }
  if (settings.model.tensor_groups % grid.tensor != 0) {
    return fmt::format("the ranks that share a model take equal numbers of its groups, and model.tensor_groups is {}",
                       settings.model.tensor_groups);
  }
  return {};
}

// "4x1, 2x2": the grids of so many ranks that would do.
std::string GridsThatFit(const config::Settings& settings, int world) {
  std::vector<std::string> fitting;
  for (int tensor = 1; tensor <= world; ++tensor) {
    if (world % tensor != 0) continue;
    const Grid grid{world / tensor, tensor};
    if (Obstacle(settings, grid).empty()) fitting.push_back(fmt::format("{}x{}", grid.data, grid.tensor));
  }
  return fmt::format("{}", fmt::join(fitting, ", "));
}

absl::Status DoesNotFit(const config::Settings& settings, int world, const std::string& what) {
  const std::string fitting = GridsThatFit(settings, world);
  if (!fitting.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}; {} ranks would fit as parallel.data x parallel.tensor = {}", what, world, fitting));
  }
  int fewer = world - 1;
  while (fewer > 1 && GridsThatFit(settings, fewer).empty()) --fewer;
  return absl::InvalidArgumentError(fmt::format("{}; no grid of {} ranks fits this model, start {} of them as {}", what,
                                                world, fewer, GridsThatFit(settings, fewer)));
}

}  // namespace

absl::StatusOr<Grid> FitGrid(const config::Settings& settings, int world) {
  const int64_t tensor = settings.parallel.tensor;
  const int64_t data = settings.parallel.data > 0 ? settings.parallel.data : world / tensor;
  if (data * tensor != world) {
    return DoesNotFit(settings, world,
                      settings.parallel.data > 0
                          ? fmt::format("parallel.data {} x parallel.tensor {} are {} ranks, and {} {} started", data,
                                        tensor, data * tensor, world, world == 1 ? "was" : "were")
                          : fmt::format("{} ranks cannot be cut into tensor-parallel groups of {}", world, tensor));
  }
  const Grid grid{static_cast<int>(data), static_cast<int>(tensor)};
  if (const std::string obstacle = Obstacle(settings, grid); !obstacle.empty()) {
    return DoesNotFit(settings, world, fmt::format("a grid of {} x {}: {}", grid.data, grid.tensor, obstacle));
  }
  return grid;
}

Grid LargestGrid(const config::Settings& settings, int ranks) {
  const int64_t wanted = settings.parallel.data > 0 ? settings.parallel.data : settings.train.shards;
  const int64_t data = std::min({ranks / settings.parallel.tensor, wanted, settings.train.shards});
  return {static_cast<int>(data), static_cast<int>(settings.parallel.tensor)};
}

LeafRange LeavesOf(int64_t leaves, int data_rank, int data) {
  return {leaves * data_rank / data, leaves * (data_rank + 1) / data};
}

}  // namespace filigree::parallel
