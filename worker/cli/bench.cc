#include "worker/bench/bench.h"

#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "worker/bench/print.h"
#include "worker/bench/step.h"
#include "worker/cli/command.h"
#include "worker/cli/numbers.h"

// filigree bench step|linear|candidates|attention|abstopk|select|candidate_select|adam|digest: our code beside a
// baseline, measured in one run.

namespace filigree::cli {
namespace {

// What the flags of one benchmark fill in; it lives as long as the command line.
template <typename Sizes>
struct Flags {
  Sizes sizes;
  bench::Common common;
  bool json = false;
  Numbers numbers;
};

// Declares subcommand `name` with the flags that all have in common; `repeats` is what it calls its repeats.
template <typename Sizes, typename Report>
CLI::App* AddBenchmark(CLI::App& bench, const std::string& name, const std::string& help, const std::string& repeats,
                       absl::StatusOr<Report> (*run)(const Sizes&, const bench::Common&),
                       const std::shared_ptr<Flags<Sizes>>& flags, int& exit_code) {
  CLI::App* app = bench.add_subcommand(name, help);
  app->add_option("--threads", flags->common.threads, "Threads, 0 for one a core")->capture_default_str();
  app->add_option(repeats, flags->common.repeats, "How often to measure")->capture_default_str();
  app->add_flag("--json", flags->json, "One JSON object a result and line");
  app->callback([flags, run, &exit_code] {
    absl::Status status = flags->numbers.Read();
    if (status.ok()) {
      const absl::StatusOr<Report> report = run(flags->sizes, flags->common);
      status = report.status();
      if (report.ok()) {
        std::fputs((flags->json ? FormatJson(*report) : FormatTable(*report)).c_str(), stdout);
      }
    }
    exit_code = Finish(status);
  });
  return app;
}

void AddStep(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::StepSizes>>();
  CLI::App* app = AddBenchmark(bench, "step", "One whole training step at steady density", "--steps", bench::RunStep,
                               flags, exit_code);
  bench::StepSizes& sizes = flags->sizes;
  app->add_option("--d", sizes.d_model, "Width of the model")->capture_default_str();
  app->add_option("--layers", sizes.layers, "Layers")->capture_default_str();
  app->add_option("--batch", sizes.batch, "Sequences")->capture_default_str();
  app->add_option("--ctx", sizes.context, "Positions of a sequence")->capture_default_str();
  app->add_option("--vocab", sizes.vocab, "Vocabulary")->capture_default_str();
  app->add_option("--d-head", sizes.d_head, "Channels of a head")->capture_default_str();
  app->add_option("--tensor-groups", sizes.tensor_groups, "Groups of heads, neurons and vocabulary")
      ->capture_default_str();
  app->add_option("--shards", sizes.shards, "Logical shards of the batch")->capture_default_str();
  app->add_option("--min-alive", sizes.min_alive, "Entries that every unit keeps")->capture_default_str();
  app->add_option("--regime", sizes.regime, "exact or active")->capture_default_str();
  app->add_option("--activations", sizes.activations, "How layers keep them: fp32 or bf16")->capture_default_str();
  app->add_option("--candidates", sizes.candidates, "Active: c, entries that exist per entry of a mask")
      ->capture_default_str();
  app->add_option("--refresh-every", sizes.refresh_every, "Active: R, steps between changes of candidates")
      ->capture_default_str();
  flags->numbers.Add(*app, "--density", &sizes.density, "f_w, share of block weights that are not zero");
  flags->numbers.Add(*app, "--embedding-density", &sizes.embedding_density, "f_e, the same of wte and lm_head");
  flags->numbers.Add(*app, "--afrac", &sizes.afrac, "Share of activations that is kept");
}

void AddLinear(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::LinearSizes>>();
  CLI::App* app =
      AddBenchmark(bench, "linear", "A sparse linear layer: forward, input and weight gradient; oneDNN beside it",
                   "--repeats", bench::RunLinear, flags, exit_code);
  app->add_option("--out", flags->sizes.out, "Outputs")->capture_default_str();
  app->add_option("--in", flags->sizes.in, "Inputs")->capture_default_str();
  app->add_option("--tokens", flags->sizes.tokens, "Tokens")->capture_default_str();
  flags->numbers.Add(*app, "--density", &flags->sizes.density, "Share of weights that are not zero");
  flags->numbers.Add(*app, "--afrac", &flags->sizes.afrac, "Share of activations that are not zero");
}

void AddCandidates(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::CandidatesSizes>>();
  CLI::App* app = AddBenchmark(bench, "candidates", "A linear layer that exists on candidates; oneDNN beside it",
                               "--repeats", bench::RunCandidates, flags, exit_code);
  bench::CandidatesSizes& sizes = flags->sizes;
  app->add_option("--out", sizes.out, "Outputs")->capture_default_str();
  app->add_option("--in", sizes.in, "Inputs")->capture_default_str();
  app->add_option("--tokens", sizes.tokens, "Tokens")->capture_default_str();
  flags->numbers.Add(*app, "--density", &sizes.density, "Share of weights that are not zero");
  flags->numbers.Add(*app, "--candidates", &sizes.candidates, "c, candidates per weight that is not zero");
  flags->numbers.Add(*app, "--afrac", &sizes.afrac, "Share of activations that are not zero");
}

void AddAttention(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::AttentionSizes>>();
  CLI::App* app = AddBenchmark(bench, "attention", "Causal attention on sparse q, k and v, forward and backward",
                               "--repeats", bench::RunAttention, flags, exit_code);
  app->add_option("--heads", flags->sizes.heads, "Heads")->capture_default_str();
  app->add_option("--d-head", flags->sizes.d_head, "Channels of a head")->capture_default_str();
  app->add_option("--context", flags->sizes.context, "Positions of a sequence")->capture_default_str();
  app->add_option("--sequences", flags->sizes.sequences, "Sequences")->capture_default_str();
  flags->numbers.Add(*app, "--afrac", &flags->sizes.afrac, "Share of q, k and v that is kept");
}

void AddAbsTopK(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::AbsTopKSizes>>();
  CLI::App* app = AddBenchmark(bench, "abstopk", "The largest channels of every token, in L2", "--repeats",
                               bench::RunAbsTopK, flags, exit_code);
  app->add_option("--channels", flags->sizes.channels, "Channels")->capture_default_str();
  app->add_option("--tiles", flags->sizes.tiles, "Distinct tiles of 64 tokens a thread")->capture_default_str();
  flags->numbers.Add(*app, "--afrac", &flags->sizes.afrac, "Share of channels that is kept");
  flags->numbers.Add(*app, "--zeros", &flags->sizes.zeros, "Share of the input that is exactly zero");
}

void AddSelect(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::SelectSizes>>();
  CLI::App* app =
      AddBenchmark(bench, "select", "The mask of a weight matrix", "--repeats", bench::RunSelect, flags, exit_code);
  app->add_option("--rows", flags->sizes.rows, "Rows")->capture_default_str();
  app->add_option("--cols", flags->sizes.cols, "Columns")->capture_default_str();
  app->add_option("--min-alive", flags->sizes.min_alive, "Entries that every unit keeps")->capture_default_str();
  app->add_option("--unit", flags->sizes.unit, "What a unit is: row, column or none")->capture_default_str();
  flags->numbers.Add(*app, "--density", &flags->sizes.density, "Share of weights that is kept");
}

void AddCandidateSelect(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::CandidateSelectSizes>>();
  CLI::App* app =
      AddBenchmark(bench, "candidate_select", "The mask of a matrix that exists on candidates, and a refresh",
                   "--repeats", bench::RunCandidateSelect, flags, exit_code);
  bench::SelectSizes& matrix = flags->sizes.matrix;
  app->add_option("--rows", matrix.rows, "Rows")->capture_default_str();
  app->add_option("--cols", matrix.cols, "Columns")->capture_default_str();
  app->add_option("--min-alive", matrix.min_alive, "Entries that every unit keeps")->capture_default_str();
  app->add_option("--unit", matrix.unit, "What a unit is: row, column or none")->capture_default_str();
  flags->numbers.Add(*app, "--density", &matrix.density, "Share of weights that is kept");
  flags->numbers.Add(*app, "--candidates", &flags->sizes.candidates, "c, candidates per weight that is kept");
}

void AddAdam(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::AdamSizes>>();
  CLI::App* app = AddBenchmark(bench, "adam", "Adam on dense state", "--repeats", bench::RunAdam, flags, exit_code);
  app->add_option("--elements", flags->sizes.elements, "Parameters")->capture_default_str();
}

void AddDigest(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::DigestSizes>>();
  CLI::App* app = AddBenchmark(bench, "digest", "What a rank says of its state, on candidates and whole", "--repeats",
                               bench::RunDigest, flags, exit_code);
  app->add_option("--rows", flags->sizes.rows, "Rows")->capture_default_str();
  app->add_option("--cols", flags->sizes.cols, "Columns")->capture_default_str();
  flags->numbers.Add(*app, "--density", &flags->sizes.density, "Share of the entries that are candidates");
}

}  // namespace

void AddBenchCommand(CLI::App& app, int& exit_code) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure a kernel or a step beside a baseline, against what this machine can do");
  bench->require_subcommand(1);
  AddStep(*bench, exit_code);
  AddLinear(*bench, exit_code);
  AddCandidates(*bench, exit_code);
  AddAttention(*bench, exit_code);
  AddAbsTopK(*bench, exit_code);
  AddSelect(*bench, exit_code);
  AddCandidateSelect(*bench, exit_code);
  AddAdam(*bench, exit_code);
  AddDigest(*bench, exit_code);
  AddRankBenchmarks(*bench, exit_code);
}

}  // namespace filigree::cli
