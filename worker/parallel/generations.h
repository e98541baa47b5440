#ifndef FILIGREE_WORKER_PARALLEL_GENERATIONS_H_
#define FILIGREE_WORKER_PARALLEL_GENERATIONS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/config/settings.h"
#include "worker/parallel/membership.h"
#include "worker/parallel/world.h"

// A job that outlives the loss of ranks: its work is begun again in the world of the next generation, in the same
// process.

namespace filigree::parallel {

// What became of the work in one generation.
struct Outcome {
  int exit_code = 0;
  absl::Status lost = absl::OkStatus();  // why its ranks do not go on together; OK: the work is over, or was left
  bool left = false;                     // somebody asked for that, and this process may be needed in the next one
  std::string reason = {};               // of an exit code that says failure: the words that the user was given
};
using Work = std::function<Outcome(World& world, const Generation& generation)>;
// Said by the first rank of a generation that follows another.
using Tell = std::function<void(const std::string& text)>;

// The exit code of the work, or of the job where this process idled at its end. Errors: those of Membership::First and
// Join and of World::Make; Aborted where ranks were lost and nobody can go on: says who was, and why nobody can.
absl::StatusOr<int> RunGenerations(const absl::StatusOr<config::Settings>& settings, Membership& membership,
                                   const Work& work, const Tell& tell);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_GENERATIONS_H_
