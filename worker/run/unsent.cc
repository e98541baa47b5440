#include "worker/run/unsent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "kernels/base/buffer.h"
#include "worker/checkpoint/texts.h"

namespace filigree::train {
namespace {

// 0 x 0 where the text is no grid.
parallel::Grid ParseGrid(const std::string& text) {
  constexpr int kMost = 65536;  // parallel.data, and more than parallel.tensor
  const std::vector<std::string> sides = absl::StrSplit(text, 'x');
  parallel::Grid grid{0, 0};
  if (sides.size() != 2 || !absl::SimpleAtoi(sides[0], &grid.data) || !absl::SimpleAtoi(sides[1], &grid.tensor)) {
    return {0, 0};
  }
  const auto sound = [](int side) { return side >= 1 && side <= kMost; };
  return sound(grid.data) && sound(grid.tensor) ? grid : parallel::Grid{0, 0};
}

// Adds what those ranks had to the residual: all of it, or nothing where one of them had it of other entries
// (FailedPrecondition).
absl::Status AddUnsentOf(const checkpoint::Checkpoint& from, const std::vector<int>& ranks,
                         const model::Registry& registry, exchange::Residual& residual) {
  std::vector<kernels::Buffer<float>> sums;
  sums.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) {
    const size_t values = residual.tensor(info.index).size();
    kernels::Buffer<float> sum(values), read(values);
    for (const int rank : ranks) {
      if (absl::Status status = from.CopyOwn(rank, info.name, read.span()); !status.ok()) return status;
      for (size_t i = 0; i < values; ++i) sum[i] += read[i];
    }
    sums.push_back(std::move(sum));
  }
  for (const model::TensorInfo& info : registry.tensors()) {
    const std::span<float> to = residual.tensor(info.index);
    for (size_t i = 0; i < to.size(); ++i) to[i] += sums[info.index][i];
  }
  return absl::OkStatus();
}

}  // namespace

std::string GridText(const parallel::Grid& grid) { return fmt::format("{}x{}", grid.data, grid.tensor); }

std::vector<checkpoint::OwnTensor> UnsentTensors(exchange::Residual& residual, const model::Registry& registry) {
  std::vector<checkpoint::OwnTensor> tensors;
  tensors.reserve(registry.size());
  for (const model::TensorInfo& info : registry.tensors()) tensors.push_back({info.name, residual.tensor(info.index)});
  return tensors;
}

absl::Status RestoreUnsent(const checkpoint::Checkpoint& from, const parallel::Grid& grid, int rank,
                           const model::Registry& registry, exchange::Residual* residual,
                           std::vector<std::string>& notes) {
  const std::vector<int> ranks = from.OwnRanks();
  if (ranks.empty()) return absl::OkStatus();
  constexpr char kWhat[] = "what its ranks had not sent yet of their gradients";
  const auto text = from.texts().find(checkpoint::texts::kGrid);
  const parallel::Grid was = text == from.texts().end() ? parallel::Grid{0, 0} : ParseGrid(text->second);
  const std::string change = fmt::format("the grid was {} and is {}", GridText(was), GridText(grid));
  if (residual == nullptr || was.tensor != grid.tensor || std::ssize(ranks) != int64_t{was.data} * was.tensor) {
    notes.push_back(fmt::format("{}: {} is dropped", change, kWhat));
    return absl::OkStatus();
  }
  std::vector<int> taken;  // whose this rank goes on with
  if (was.data == grid.data) taken.push_back(rank);
  if (was.data != grid.data) {
    notes.push_back(fmt::format("{}: {} is taken over by the first", change, kWhat));
    for (const int other : ranks) {
      if (grid.data_rank(rank) == 0 && was.tensor_rank(other) == grid.tensor_rank(rank)) taken.push_back(other);
    }
  }
  absl::Status status = AddUnsentOf(from, taken, registry, *residual);
  if (!absl::IsFailedPrecondition(status)) return status;
  notes.push_back(fmt::format("{} belongs to other candidates, as the regime has changed: it is dropped", kWhat));
  return absl::OkStatus();
}

}  // namespace filigree::train
