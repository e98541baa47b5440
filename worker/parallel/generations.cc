#include "worker/parallel/generations.h"

#include <memory>
#include <utility>

#include "fmt/format.h"

namespace filigree::parallel {
namespace {

// A job that loses somebody again and again without end has another trouble.
constexpr int64_t kMostGenerations = 1000;

// After a loss the number of ranks is what the membership found.
absl::StatusOr<config::Settings> OfGeneration(absl::StatusOr<config::Settings> settings, const Generation& generation) {
  if (settings.ok() && generation.number > 0) settings->parallel.data = 0;
  return settings;
}

bool IsLoss(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status); }

}  // namespace

absl::StatusOr<int> RunGenerations(const absl::StatusOr<config::Settings>& settings, Membership& membership,
                                   const Work& work, const Tell& tell) {
  absl::StatusOr<Generation> generation = membership.First();
  absl::Status lost;
  while (generation.ok() && !generation->over) {
    absl::StatusOr<std::unique_ptr<comm::Transport>> transport = membership.Join(*generation);
    if (!transport.ok()) {
      if (generation->number == 0 || !IsLoss(transport.status())) return transport.status();
      lost = transport.status();  // somebody was lost again meanwhile
    } else {
      absl::StatusOr<std::unique_ptr<World>> world =
          World::Make(OfGeneration(settings, *generation), *std::move(transport));
      if (!world.ok() && (generation->number == 0 || !IsLoss(world.status()))) return world.status();
      if (world.ok() && !lost.ok() && (*world)->first()) {
        tell(fmt::format("{}; going on as generation {}: {}", std::string(lost.message()), generation->number,
                         (*world)->Describe()));
      }
      Outcome outcome = world.ok() ? work(**world, *generation) : Outcome{0, world.status()};
      if (outcome.lost.ok()) {
        if ((*world)->first()) membership.Finish(outcome.exit_code);
        return outcome.exit_code;
      }
      lost = std::move(outcome.lost);
    }
    if (generation->number >= kMostGenerations) return absl::AbortedError(lost.message());
    generation = membership.Next(*generation);
  }
  if (generation.ok()) return *generation->over;
  if (lost.ok()) return generation.status();
  return absl::AbortedError(
      fmt::format("{}; {}", std::string(lost.message()), std::string(generation.status().message())));
}

}  // namespace filigree::parallel
