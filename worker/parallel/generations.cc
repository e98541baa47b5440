#include "worker/parallel/generations.h"

#include <memory>
#include <string>
#include <utility>

#include "fmt/format.h"

namespace filigree::parallel {
namespace {

// A process that loses somebody again and again without end has another trouble.
constexpr int kMostGenerations = 1000;

// Where nobody has decided on a grid it is, after a loss, what fits the ranks that are left.
absl::StatusOr<config::Settings> OfGeneration(absl::StatusOr<config::Settings> settings, const Generation& generation) {
  if (!settings.ok()) return settings;
  if (generation.grid) {
    settings->parallel.data = generation.grid->data;
    settings->parallel.tensor = generation.grid->tensor;
  } else if (!generation.first) {
    settings->parallel.data = 0;
  }
  return settings;
}

bool IsLoss(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status); }

bool Over(const Outcome& outcome) { return outcome.lost.ok() && !outcome.left; }

absl::StatusOr<std::unique_ptr<World>> Meet(const absl::StatusOr<config::Settings>& settings, Membership& membership,
                                            const Generation& generation) {
  absl::StatusOr<std::unique_ptr<comm::Transport>> transport = membership.Join(generation);
  if (!transport.ok()) return transport.status();
  return World::Make(OfGeneration(settings, generation), *std::move(transport));
}

// One generation from its meeting to the end of its work. `before`: what became of the one before; empty: none was.
absl::StatusOr<Outcome> RunOne(const absl::StatusOr<config::Settings>& settings, Membership& membership,
                               const Generation& generation, const std::string& before, const Work& work,
                               const Tell& tell) {
  const absl::StatusOr<std::unique_ptr<World>> world = Meet(settings, membership, generation);
  if (!world.ok()) {
    if (generation.first || !IsLoss(world.status())) return world.status();
    return Outcome{0, world.status()};  // somebody was lost again meanwhile
  }
  if (!before.empty() && (*world)->first()) {
    tell(fmt::format("{}; going on as generation {}: {}", before, generation.number, (*world)->Describe()));
  }
  Outcome outcome = work(**world, generation);
  // That it is done all know alike, and whoever is first may be killed before it has said so.
  if (Over(outcome) && ((*world)->first() || outcome.exit_code == 0)) membership.Finish(outcome.exit_code);
  return outcome;
}

}  // namespace

absl::StatusOr<int> RunGenerations(const absl::StatusOr<config::Settings>& settings, Membership& membership,
                                   const Work& work, const Tell& tell) {
  absl::StatusOr<Generation> generation = membership.First();
  absl::Status lost;
  std::string before;
  for (int rounds = 0; generation.ok() && !generation->over; ++rounds) {
    const absl::StatusOr<Outcome> outcome = RunOne(settings, membership, *generation, before, work, tell);
    if (!outcome.ok()) return outcome.status();
    if (Over(*outcome)) return outcome->exit_code;
    lost = outcome->lost;
    const std::string missed(lost.message());
    if (rounds >= kMostGenerations) return absl::AbortedError(missed);
    before = lost.ok() ? fmt::format("generation {} was left on request", generation->number) : missed;
    generation = membership.Next(*generation, missed);
  }
  if (generation.ok()) return *generation->over;
  if (lost.ok()) return generation.status();
  return absl::AbortedError(
      fmt::format("{}; {}", std::string(lost.message()), std::string(generation.status().message())));
}

}  // namespace filigree::parallel
