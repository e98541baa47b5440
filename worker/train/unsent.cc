#include "worker/train/unsent.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "kernels/base/buffer.h"
#include "worker/checkpoint/texts.h"

namespace filigree::train {
namespace {

// 0 x 0 where the text is no grid.
parallel::Grid ParseGrid(const std::string& text) {
  const std::vector<std::string> sides = absl::StrSplit(text, 'x');
  parallel::Grid grid{0, 0};
  if (sides.size() != 2 || !absl::SimpleAtoi(sides[0], &grid.data) || !absl::SimpleAtoi(sides[1], &grid.tensor)) {
    return {0, 0};
  }
  return grid;
}

// Adds what that rank had to the residual.
absl::Status AddUnsentOf(const checkpoint::Checkpoint& from, int rank, const model::Registry& registry,
                         exchange::Residual& residual) {
  for (const model::TensorInfo& info : registry.tensors()) {
    const std::span<float> to = residual.tensor(info.index);
    kernels::Buffer<float> read(to.size());
    if (absl::Status status = from.CopyOwn(rank, info.name, read.span()); !status.ok()) return status;
    for (size_t i = 0; i < to.size(); ++i) to[i] += read[i];
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
  const auto text = from.texts().find(checkpoint::texts::kGrid);
  const parallel::Grid was = text == from.texts().end() ? parallel::Grid{0, 0} : ParseGrid(text->second);
  const std::string change = fmt::format("the grid was {} and is {}", GridText(was), GridText(grid));
  if (residual == nullptr || was.tensor != grid.tensor || static_cast<int>(ranks.size()) != was.data * was.tensor) {
    notes.push_back(change + ": what its ranks had not sent yet of their gradients is dropped");
    return absl::OkStatus();
  }
  if (was.data == grid.data) return AddUnsentOf(from, rank, registry, *residual);
  notes.push_back(change + ": what its ranks had not sent yet of their gradients is taken over by the first");
  if (grid.data_rank(rank) != 0) return absl::OkStatus();
  for (const int other : ranks) {
    if (was.tensor_rank(other) != grid.tensor_rank(rank)) continue;
    if (absl::Status status = AddUnsentOf(from, other, registry, *residual); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace filigree::train
