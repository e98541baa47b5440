#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "worker/bench/limits.h"
#include "worker/bench/ranks.h"
#include "worker/cli/command.h"
#include "worker/cli/numbers.h"
#include "worker/comm/local.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/world.h"

// filigree bench exchange|mask: what ranks tell each other, under mpirun or among threads.

namespace filigree::cli {
namespace {

using RunRank = std::function<absl::StatusOr<bench::RankReport>(comm::Communicator&)>;

struct RankFlags {
  int ranks = 0;
  bool json = false;
};

int PrintReport(const absl::StatusOr<bench::RankReport>& report, bool json) {
  if (report.ok()) std::fputs((json ? FormatJson(*report) : FormatTable(*report)).c_str(), stdout);
  return Finish(report.status());
}

int RunThreads(int ranks, const RunRank& run, bool json) {
  std::vector<std::unique_ptr<comm::Transport>> transports = comm::LocalTransports(ranks);
  std::vector<absl::StatusOr<bench::RankReport>> reports(ranks, absl::UnknownError("not run"));
  std::vector<std::thread> threads;
  threads.reserve(ranks);
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&run, &report = reports[r], transport = std::move(transports[r])]() mutable {
      comm::Communicator communicator(std::move(transport), {});
      report = run(communicator);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return PrintReport(reports[0], json);
}

int RunLaunched(const RunRank& run, bool json) {
  int exit_code = kExitDone;
  {
    config::Settings settings;
    settings.train.batch = settings.train.shards = 4096;  // which limit the number of ranks
    const absl::StatusOr<std::unique_ptr<parallel::World>> world = parallel::World::Open(settings);
    if (!world.ok()) return Finish(world.status());
    const absl::StatusOr<bench::RankReport> report = run((*world)->all());
    exit_code = (*world)->first() ? PrintReport(report, json) : ExitCodeOf(report.status());
  }
  comm::FinishMpi();
  return exit_code;
}

int RunRanks(const RankFlags& flags, const RunRank& run) {
  if (comm::UnderMpi()) {
    if (flags.ranks == 0) return RunLaunched(run, flags.json);
    return Finish(absl::InvalidArgumentError("--ranks is for threads of one process; under mpirun -n says how many"));
  }
  const int ranks = flags.ranks == 0 ? 2 : flags.ranks;
  if (absl::Status status = bench::CheckWhole("--ranks", ranks, 1, 256); !status.ok()) return Finish(status);
  return RunThreads(ranks, run, flags.json);
}

template <typename Sizes>
struct Flags : RankFlags {
  Sizes sizes;
  bench::Common common{.threads = 1};
  Numbers numbers;
};

template <typename Sizes>
CLI::App* AddRankBenchmark(CLI::App& bench, const std::string& name, const std::string& help,
                           absl::StatusOr<bench::RankReport> (*run)(const Sizes&, const bench::Common&,
                                                                    comm::Communicator&),
                           const std::shared_ptr<Flags<Sizes>>& flags, int& exit_code) {
  CLI::App* app = bench.add_subcommand(name, help);
  app->add_option("--ranks", flags->ranks, "Ranks that are threads of this process; default 2, under mpirun its own");
  app->add_option("--threads", flags->common.threads, "Threads of a rank")->capture_default_str();
  app->add_option("--repeats", flags->common.repeats, "How often to measure")->capture_default_str();
  app->add_flag("--json", flags->json, "One JSON object a result and line");
  app->callback([flags, run, &exit_code] {
    if (absl::Status status = flags->numbers.Read(); !status.ok()) {
      exit_code = Finish(status);
      return;
    }
    exit_code = RunRanks(*flags, [&](comm::Communicator& ranks) { return run(flags->sizes, flags->common, ranks); });
  });
  return app;
}

void AddExchange(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::ExchangeSizes>>();
  CLI::App* app =
      AddRankBenchmark(bench, "exchange", "The gradients of a step over ranks, by every way; dense all-reduce beside",
                       bench::RunExchange, flags, exit_code);
  bench::ExchangeSizes& sizes = flags->sizes;
  app->add_option("--d", sizes.d_model, "Width of the model")->capture_default_str();
  app->add_option("--layers", sizes.layers, "Layers")->capture_default_str();
  app->add_option("--vocab", sizes.vocab, "Vocabulary")->capture_default_str();
  app->add_option("--ctx", sizes.context, "Positions of a sequence")->capture_default_str();
  app->add_option("--tokens", sizes.tokens, "Tokens of a step")->capture_default_str();
  flags->numbers.Add(*app, "--density", &sizes.density, "f_w, share of block weights that are not zero");
  flags->numbers.Add(*app, "--embedding-density", &sizes.embedding_density, "f_e, the same of wte and lm_head");
  flags->numbers.Add(*app, "--candidates", &sizes.candidates, "c, entries that exist per entry of a mask");
  flags->numbers.Add(*app, "--bigram-share", &sizes.bigram_share, "parallel.bigram_share");
  flags->numbers.Add(*app, "--topk-share", &sizes.topk_share, "parallel.topk_share");
}

void AddMask(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<Flags<bench::MaskSizes>>();
  CLI::App* app = AddRankBenchmark(bench, "mask", "One mask of a matrix that lies with several ranks, at several sizes",
                                   bench::RunMask, flags, exit_code);
  app->add_option("--rows", flags->sizes.rows, "Rows of the largest matrix")->capture_default_str();
  app->add_option("--cols", flags->sizes.cols, "Columns")->capture_default_str();
  app->add_option("--halvings", flags->sizes.halvings, "How often rows are halved")->capture_default_str();
  app->add_option("--min-alive", flags->sizes.min_alive, "Entries that every unit keeps")->capture_default_str();
  flags->numbers.Add(*app, "--density", &flags->sizes.density, "Share of weights that is kept");
}

}  // namespace

void AddRankBenchmarks(CLI::App& bench, int& exit_code) {
  AddExchange(bench, exit_code);
  AddMask(bench, exit_code);
}

}  // namespace filigree::cli
