// parity DIR: runs every golden case of a folder and compares all that the program computes with what the authors' own
// code does. Prints the table and exits 1 on a miss, 2 where it was called wrongly.

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "fmt/format.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"
#include "tests/parity/run_case.h"

namespace filigree::parity {
namespace {

struct Options {
  std::string folder;
  int threads = 1, shards = 4, tensor_groups = 1;
  config::Regime regime = config::Regime::kExact;
  bool quiet = false;
};

absl::Status RunCase(const Options& options, const std::string& name, kernels::ThreadPool& pool, Report& report) {
  absl::StatusOr<GoldenCase> golden = ReadCase(options.folder, name);
  if (!golden.ok()) return golden.status();
  golden->spec.tensor_groups = options.tensor_groups;
  for (const std::string& key : golden->unknown_keys) {
    report.AddNote(name, fmt::format("the configuration's '{}' is unknown here and was ignored", key));
  }
  return golden->training.has_value() ? RunTrainingCase(*golden, options.shards, options.regime, pool, report)
                                      : RunForwardCase(*golden, options.shards, options.regime, pool, report);
}

int RunFolder(const Options& options) {
  kernels::ThreadPool pool(options.threads);
  Report report;
  const absl::StatusOr<std::vector<std::string>> names = FindCases(options.folder);
  if (!names.ok()) {
    report.AddError(options.folder, std::string(names.status().message()));
  } else {
    for (const std::string& name : *names) {
      const absl::Status status = RunCase(options, name, pool, report);
      if (!status.ok()) report.AddError(name, std::string(status.message()));
    }
  }
  fmt::print("{}", report.Text(options.quiet));
  return report.misses() == 0 ? 0 : 1;
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
  using filigree::config::Regime;
  const std::map<std::string, Regime> regimes = {{"exact", Regime::kExact}, {"active", Regime::kActive}};
  app.add_option("--regime", options.regime, "exact, or active with everything a candidate")
      ->transform(CLI::CheckedTransformer(regimes))
      ->capture_default_str();
  app.add_flag("--quiet", options.quiet, "print misses only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return filigree::parity::RunFolder(options);
}
