#include "worker/train/save_together.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "fmt/format.h"

namespace filigree::train {
namespace {

// The first rank's word on where files go, for all.
absl::StatusOr<checkpoint::OpenSave> Tell(parallel::World& world, const checkpoint::OpenSave& save) {
  world.all().Name("where the checkpoint goes");
  const auto words = world.all().AllGatherStrings(fmt::format("{} {}", save.generation, save.folder));
  if (!words.ok()) return words.status();
  const std::string& word = words->front();
  const size_t space = word.find(' ');
  checkpoint::OpenSave told;
  if (space == std::string::npos || !absl::SimpleAtoi(word.substr(0, space), &told.generation)) {
    return absl::InternalError(fmt::format("the first rank says '{}' of where the checkpoint goes", word));
  }
  told.folder = word.substr(space + 1);
  return told;
}

checkpoint::State ShareOf(const checkpoint::State& state, std::span<const int> owners, int rank, int ranks) {
  checkpoint::State share;
  share.step = state.step;
  share.position = state.position;
  share.seed = state.seed;
  const std::vector<int> part_of = checkpoint::ShareTensors(state, ranks, owners);
  for (size_t t = 0; t < state.tensors.size(); ++t) {
    if (part_of[t] == rank) share.tensors.push_back(state.tensors[t]);
  }
  return share;
}

}  // namespace

absl::StatusOr<checkpoint::SaveResult> SaveTogether(parallel::World& world, checkpoint::FileSystem& files,
                                                    const std::string& run_dir, const checkpoint::State& state,
                                                    std::span<const checkpoint::OwnTensor> own,
                                                    std::span<const int> owners, int keep_last) {
  std::vector<std::string> warnings;
  absl::StatusOr<checkpoint::OpenSave> begun = checkpoint::OpenSave();
  if (world.first()) begun = checkpoint::BeginSave(files, run_dir, state.step, warnings);
  if (absl::Status status = world.Agree(begun.status()); !status.ok()) return status;
  const absl::StatusOr<checkpoint::OpenSave> save = Tell(world, *begun);
  if (!save.ok()) return save.status();
  const absl::StatusOr<std::string> part =
      checkpoint::WritePart(files, *save, world.rank(), ShareOf(state, owners, world.rank(), world.size()), own);
  if (absl::Status status = world.Agree(part.status()); !status.ok()) {
    if (world.first()) checkpoint::AbandonSave(files, *begun);
    return status;
  }
  world.all().Name("what each rank has written of the checkpoint");
  const auto parts = world.all().AllGatherStrings(*part);
  if (!parts.ok()) return parts.status();
  absl::StatusOr<checkpoint::SaveResult> saved = checkpoint::SaveResult{save->folder, 0, {}};
  if (world.first()) saved = checkpoint::CommitSave(files, run_dir, *begun, state, *parts, keep_last);
  if (absl::Status status = world.Agree(saved.status()); !status.ok()) return status;
  saved->warnings.insert(saved->warnings.begin(), warnings.begin(), warnings.end());
  return saved;
}

}  // namespace filigree::train
