// parity DIR: runs every golden case of a folder and compares all that the program computes with what the authors' own
// code does. Prints the table and exits 1 on a miss, 2 where it was called wrongly, 4 where a rank was lost.
//
// Under mpirun the ranks compute every case together and each compares what it ends with; the first prints the table.

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "fmt/format.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"
#include "tests/parity/run_case.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/world.h"

namespace filigree::parity {
namespace {

constexpr int kExitMiss = 1, kExitUsage = 2, kExitRankLost = 4;

struct Options {
  std::string folder;
  int threads = 1, shards = 4, tensor_groups = 1, data = 0, tensor = 1;
  config::Regime regime = config::Regime::kExact;
  config::ActivationStorage activations = config::ActivationStorage::kFp32;
  bool quiet = false;
};

// The ranks that a launcher started; null: none did.
absl::StatusOr<std::unique_ptr<parallel::World>> OpenWorld(const Options& options) {
  config::Settings settings;
  settings.train.shards = options.shards;
  settings.model.tensor_groups = options.tensor_groups;
  settings.parallel.data = options.data;
  settings.parallel.tensor = options.tensor;
  absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Open(settings);
  if (world.ok() && (*world)->size() == 1) return nullptr;
  return world;
}

absl::Status Agree(const Runner& runner, const absl::Status& mine) {
  return runner.world == nullptr ? mine : runner.world->Agree(mine);
}

absl::Status RunCase(const Options& options, const std::string& name, const Runner& runner, Report& report) {
  absl::StatusOr<GoldenCase> golden = ReadCase(options.folder, name);
  if (absl::Status read = Agree(runner, golden.status()); !read.ok()) return read;
  golden->spec.tensor_groups = options.tensor_groups;
  golden->spec.activation_storage = options.activations;
  for (const std::string& key : golden->unknown_keys) {
    report.AddNote(name, fmt::format("the configuration's '{}' is unknown here and was ignored", key));
  }
  return golden->training.has_value() ? RunTrainingCase(*golden, runner, report)
                                      : RunForwardCase(*golden, runner, report);
}

// What this rank misses, if anything.
absl::Status Verdict(const Report& report) {
  if (report.misses() == 0) return absl::OkStatus();
  return absl::DataLossError(report.Text(/*quiet=*/true));
}

int RunFolder(const Options& options, parallel::World* world) {
  kernels::ThreadPool pool(options.threads);
  const Runner runner{options.shards, options.regime, &pool, world};
  Report report;
  const absl::StatusOr<std::vector<std::string>> names = FindCases(options.folder);
  absl::Status found = Agree(runner, names.status());
  if (!found.ok()) report.AddError(options.folder, std::string(found.message()));
  for (size_t i = 0; found.ok() && i < names->size(); ++i) {
    const absl::Status status = RunCase(options, (*names)[i], runner, report);
    if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
      fmt::print(stderr, "parity: {}\n", std::string(status.message()));
      comm::AbortMpi(kExitRankLost);
    }
    if (!status.ok()) report.AddError((*names)[i], std::string(status.message()));
  }
  const absl::Status verdict = Agree(runner, Verdict(report));
  if (world == nullptr || world->first()) {
    fmt::print("{}", report.Text(options.quiet));
    if (world != nullptr) fmt::print("{}, each compared what it had\n", world->Describe());
    // Another rank's misses, where this one has none.
    if (!verdict.ok() && report.misses() == 0) fmt::print("{}", std::string(verdict.message()));
  }
  return verdict.ok() ? 0 : kExitMiss;
}

int RunWithRanks(const Options& options) {
  absl::StatusOr<std::unique_ptr<parallel::World>> world = OpenWorld(options);
  if (!world.ok()) fmt::print(stderr, "parity: {}\n", std::string(world.status().message()));
  const int exit_code = world.ok() ? RunFolder(options, world->get()) : kExitUsage;
  if (world.ok()) world->reset();
  comm::FinishMpi();
  return exit_code;
}

}  // namespace
}  // namespace filigree::parity

int main(int argc, char** argv) {
  filigree::parity::Options options;
  options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  CLI::App app("Runs every golden case of a folder and compares it with what the authors' code computes.", "parity");
  app.add_option("DIR", options.folder, "folder of pairs NAME.json and NAME.safetensors")->required();
  app.add_option("--threads", options.threads, "threads; no figure depends on them")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--shards", options.shards, "logical shards of a batch, at most its sequences")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--tensor-groups", options.tensor_groups,
                 "groups of heads, neurons and vocabulary (model.tensor_groups)")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--parallel.data", options.data, "data-parallel ranks; 0: what mpirun started, divided by the others")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--parallel.tensor", options.tensor, "ranks that share the model, a divisor of --tensor-groups")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  using filigree::config::Regime;
  const std::map<std::string, Regime> regimes = {{"exact", Regime::kExact}, {"active", Regime::kActive}};
  app.add_option("--regime", options.regime, "exact, or active with everything a candidate")
      ->transform(CLI::CheckedTransformer(regimes))
      ->capture_default_str();
  using filigree::config::ActivationStorage;
  const std::map<std::string, ActivationStorage> storages = {{"fp32", ActivationStorage::kFp32},
                                                             {"bf16", ActivationStorage::kBf16}};
  app.add_option("--activations", options.activations, "how layers keep them: fp32, or bf16 with bounds of its own")
      ->transform(CLI::CheckedTransformer(storages))
      ->capture_default_str();
  app.add_flag("--quiet", options.quiet, "print misses only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return filigree::parity::RunWithRanks(options);
}
