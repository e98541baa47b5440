#include "worker/run/save_together.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "worker/checkpoint/manifest.h"

namespace filigree::train {
namespace {

// The first rank's word on where files go, for all.
absl::StatusOr<checkpoint::OpenSave> Tell(parallel::World& world, const checkpoint::OpenSave& save) {
  world.all().Name("where the checkpoint goes");
  const auto words = world.all().AllGatherStrings(fmt::format("{} {}", save.token, save.folder));
  if (!words.ok()) return words.status();
  const std::string& word = words->front();
  const size_t space = word.find(' ');
  if (space == std::string::npos || (space > 0 && !checkpoint::SoundName(word.substr(0, space)))) {
    return absl::InternalError(fmt::format("the first rank says '{}' of where the checkpoint goes", word));
  }
  return checkpoint::OpenSave{word.substr(space + 1), word.substr(0, space)};
}

// The digest of the manifest, which the first rank alone has written.
absl::Status TellPoint(parallel::World& world, const Fencing& fencing, int64_t step, CommitPoint& point) {
  world.all().Name("what was committed");
  const auto digests = world.all().AllGatherStrings(point.digest);
  if (!digests.ok()) return digests.status();
  point = {fencing.generation, step, digests->front()};
  return absl::OkStatus();
}

// The tensors that this part of so many stores.
checkpoint::State ShareOf(const checkpoint::State& state, std::span<const int> writers, int part, int parts) {
  checkpoint::State share;
  share.step = state.step;
  share.position = state.position;
  share.seed = state.seed;
  const std::vector<int> part_of = checkpoint::ShareTensors(state, parts, writers);
  for (size_t t = 0; t < state.tensors.size(); ++t) {
    if (part_of[t] == part) share.tensors.push_back(state.tensors[t]);
  }
  return share;
}

// All but the tensors of a state, from a rank that holds it.
absl::StatusOr<checkpoint::State> TellFrame(parallel::World& world, const checkpoint::State* state, int holder) {
  absl::StatusOr<std::string> mine = std::string();
  if (state != nullptr) {
    checkpoint::Manifest frame;
    frame.step = state->step;
    frame.position = state->position;
    frame.seed = state->seed;
    frame.texts = state->texts;
    frame.extras = state->extras;
    mine = checkpoint::EncodeManifest(frame);
  }
  if (absl::Status status = world.Agree(mine.status()); !status.ok()) return status;
  world.all().Name("what the state is");
  const auto words = world.all().AllGatherStrings(*mine);
  if (!words.ok()) return words.status();
  absl::StatusOr<checkpoint::Manifest> told =
      checkpoint::ParseManifest((*words)[holder], fmt::format("what rank {} says of its state", holder));
  if (!told.ok()) return told.status();
  checkpoint::State frame;
  frame.step = told->step;
  frame.position = told->position;
  frame.seed = told->seed;
  frame.texts = std::move(told->texts);
  frame.extras = std::move(told->extras);
  return frame;
}

// share: this rank's. frame: all but the tensors, needed on the first rank.
absl::StatusOr<checkpoint::SaveResult> SaveShares(parallel::World& world, checkpoint::FileSystem& files,
                                                  const std::string& run_dir, const checkpoint::State& frame,
                                                  const checkpoint::State& share,
                                                  std::span<const checkpoint::OwnTensor> own, int keep_last,
                                                  const Fencing* fencing) {
  std::vector<std::string> warnings;
  // Every save has names of its own: a rank that sleeps in this one may wake up in the middle of the next.
  const checkpoint::SaveMark mark{fencing == nullptr ? 0 : fencing->generation,
                                  world.size() > 1 ? checkpoint::NewSaveToken() : std::string()};
  absl::StatusOr<checkpoint::OpenSave> begun = checkpoint::OpenSave();
  if (world.first()) begun = checkpoint::BeginSave(files, run_dir, frame.step, warnings, mark);
  if (absl::Status status = world.Agree(begun.status()); !status.ok()) return status;
  const absl::StatusOr<checkpoint::OpenSave> save = Tell(world, *begun);
  if (!save.ok()) return save.status();
  const absl::StatusOr<std::string> part = checkpoint::WritePart(files, *save, world.rank(), share, own);
  if (absl::Status status = world.Agree(part.status()); !status.ok()) {
    if (world.first()) checkpoint::AbandonSave(files, *begun);
    return status;
  }
  world.all().Name("what each rank has written of the checkpoint");
  const auto parts = world.all().AllGatherStrings(*part);
  if (!parts.ok()) return parts.status();
  absl::StatusOr<checkpoint::SaveResult> saved = checkpoint::SaveResult{save->folder};
  if (world.first()) saved = checkpoint::CommitSave(files, run_dir, *begun, frame, *parts, keep_last, fencing);
  if (absl::Status status = world.Agree(saved.status()); !status.ok()) return status;
  if (fencing != nullptr) {
    if (absl::Status told = TellPoint(world, *fencing, frame.step, saved->point); !told.ok()) return told;
  }
  saved->warnings.insert(saved->warnings.begin(), warnings.begin(), warnings.end());
  return saved;
}

}  // namespace

absl::StatusOr<checkpoint::SaveResult> SaveTogether(parallel::World& world, checkpoint::FileSystem& files,
                                                    const std::string& run_dir, const checkpoint::State& state,
                                                    std::span<const checkpoint::OwnTensor> own,
                                                    std::span<const int> writers, int keep_last,
                                                    const Fencing* fencing) {
  const checkpoint::State share = ShareOf(state, writers, world.rank(), world.size());
  return SaveShares(world, files, run_dir, state, share, own, keep_last, fencing);
}

absl::StatusOr<checkpoint::SaveResult> SaveOfHolders(parallel::World& world, checkpoint::FileSystem& files,
                                                     const std::string& run_dir, const checkpoint::State* state,
                                                     const HoldersOfState& holders, int keep_last,
                                                     const Fencing* fencing) {
  const absl::StatusOr<checkpoint::State> frame = TellFrame(world, state, holders.ranks.front());
  if (!frame.ok()) return frame.status();
  checkpoint::State share;
  share.step = frame->step;
  if (state != nullptr) {
    const std::span<const int> ranks = holders.ranks;
    const auto part = std::lower_bound(ranks.begin(), ranks.end(), world.rank()) - ranks.begin();
    share = ShareOf(*state, holders.writers, static_cast<int>(part), static_cast<int>(std::ssize(ranks)));
  }
  return SaveShares(world, files, run_dir, *frame, share, {}, keep_last, fencing);
}

}  // namespace filigree::train
