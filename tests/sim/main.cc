#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/sim/world.h"

// The coordinator's core over thousands of seeds: sim --seeds 10000; one of them again, told event by event:
// sim --first SEED --seeds 1 --verbose. With --expect-violation a program with a planted bug passes if a seed finds it.

namespace filigree::sim {
namespace {

struct Arguments {
  uint64_t first = 1, seeds = 200;
  bool expect_violation = false;
  WorldOptions world;
};

// The same seed with the wall clock left alone decides the same.
std::string WallClockMatters(uint64_t seed, const WorldOptions& options, const Summary& jumped) {
  WorldOptions still = options;
  still.wall_jumps = false;
  still.verbose = false;
  return World(seed, still).Run().trace == jumped.trace ? "" : "jumps of the wall clock change what is decided";
}

int Run(const Arguments& arguments, const char* program) {
  Summary total;
  for (uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds; ++seed) {
    Summary one = World(seed, arguments.world).Run();
    if (one.violation.empty() && seed % 10 == 0) one.violation = WallClockMatters(seed, arguments.world, one);
    if (!one.violation.empty()) {
      std::printf("seed %llu: %s\n  again: %s --seeds 1 --first %llu --verbose\n",
                  static_cast<unsigned long long>(seed), one.violation.c_str(), program,
                  static_cast<unsigned long long>(seed));
      return arguments.expect_violation ? 0 : 1;
    }
    total.events += one.events;
    total.simulated_us += one.simulated_us;
    total.faults += one.faults;
    total.jobs += one.jobs;
    total.generations += one.generations;
    total.commits += one.commits;
    total.rollbacks += one.rollbacks;
  }
  fmt::print(
      "{} seeds from {}: {} simulated hours, {} moments, {} faults, {} jobs, {} generations, {} commits, {} rollbacks; "
      "no violation\n",
      arguments.seeds, arguments.first, total.simulated_us / 3'600'000'000, total.events, total.faults, total.jobs,
      total.generations, total.commits, total.rollbacks);
  return arguments.expect_violation ? 1 : 0;
}

}  // namespace
}  // namespace filigree::sim

int main(int argc, char** argv) {
  filigree::sim::Arguments arguments;
  CLI::App app("The coordinator's core in a simulated cluster");
  app.add_option("--first", arguments.first, "first seed");
  app.add_option("--seeds", arguments.seeds, "how many");
  app.add_flag("--expect-violation", arguments.expect_violation, "succeed if one is found");
  app.add_flag("--answer-first", arguments.world.answer_first, "planted bug: answers before rows are kept");
  app.add_flag("--verbose", arguments.world.verbose, "tell what happens");
  CLI11_PARSE(app, argc, argv);
  return filigree::sim::Run(arguments, argv[0]);
}
