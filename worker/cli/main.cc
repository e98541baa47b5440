// filigree: trains weight-sparse transformers. One file a subcommand; this one only lists them.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "kernels/base/simd.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/config/nearest.h"
#include "worker/telemetry/display.h"

namespace filigree::cli {
namespace {

// A program that is started with a standard stream closed would get its number for the next file it opens, a checkpoint
// or a shard, and then print into that. Here reading or writing such a stream goes on failing.
void HoldStandardStreams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // takes the lowest free number: this one
  }
}

// A connection that was refused is made anew in the background, where gRPC looks at it every 5 seconds: too late for a
// worker's lease, and for who started a coordinator and asks it at once. Whoever has set the variable knows better.
void LookAtConnectionsOften() { setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", 0); }

// A result that did not arrive on stdout is no success. What `train` and `prepare` print is only an account of files.
int CheckOutput(const CLI::App& app, int exit_code) {
  const bool trains = app.got_subcommand("train") && app.get_subcommand("train")->count("--dry-run") == 0;
  if (exit_code != kExitDone || trains || app.got_subcommand("prepare")) return exit_code;
  const bool flushed = std::fflush(stdout) == 0;
  const int error = errno;
  if (flushed && std::ferror(stdout) == 0) return exit_code;
  return Finish(absl::UnavailableError(
      fmt::format("cannot write to standard output{}", flushed ? "" : fmt::format(": {}", std::strerror(error)))));
}

std::vector<std::string> NamesOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// The first word that is no flag has to be a command, and that after "bench" a benchmark; empty: it is.
std::string UnknownCommand(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty() || words[0].substr(0, 1) == "-") return {};
  const std::vector<std::string> names = NamesOf(app);
  if (std::find(names.begin(), names.end(), words[0]) == names.end())
    return fmt::format("'{}' is no command; the nearest is {}, and filigree --help lists them all", words[0],
                       config::NearestWord(words[0], names));
  const std::vector<std::string> below = NamesOf(*app.get_subcommand(words[0]));
  if (below.empty() || (words.size() > 1 && words[1].substr(0, 1) == "-")) return {};
  const std::string all = fmt::format("filigree {} has {}", words[0], fmt::join(below, ", "));
  if (words.size() == 1) return fmt::format("{} what? {}", words[0], all);
  if (std::find(below.begin(), below.end(), words[1]) != below.end()) return {};
  return fmt::format("'{}' is none of them, the nearest is {}: {}", words[1], config::NearestWord(words[1], below),
                     all);
}

// A connection is a file: one more than the limit would end gRPC's listening for good. So is every rank's part of a
// checkpoint. An agent leaves the limit as it is: mpirun inherits it, and closes as many files before it starts a rank.
void RaiseFileLimit(int argc, char** argv) {
  constexpr rlim_t kEnough = 1 << 20;
  rlimit limit{};
  if ((argc > 1 && std::string_view(argv[1]) == "worker") || getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kEnough));
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace
}  // namespace filigree::cli

int main(int argc, char** argv) {
  using namespace filigree;
  cli::HoldStandardStreams();
  cli::LookAtConnectionsOften();
  cli::RaiseFileLimit(argc, argv);
  if (!kernels::SimdSupported()) {
    cli::Say("this processor has neither AVX2 nor AVX-512; one of them is needed");
    return cli::kExitFailed;
  }
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a failed write, not the end of a run

  CLI::App app("Filigree trains transformers in which almost every weight is zero.", "filigree");
  app.set_version_flag("--version", fmt::format("filigree {} ({})", FILIGREE_VERSION, FILIGREE_REVISION));
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of every subcommand");
  int exit_code = cli::kExitDone;
  cli::AddPrepareCommand(app, exit_code);
  cli::AddTrainCommand(app, exit_code);
  cli::AddEvalCommand(app, exit_code);
  cli::AddGenerateCommand(app, exit_code);
  cli::AddActivationsCommand(app, exit_code);
  cli::AddInspectCommand(app, exit_code);
  cli::AddProfileCommand(app, exit_code);
  cli::AddReportCommand(app, exit_code);
  cli::AddExportCommand(app, exit_code);
  cli::AddImportCommand(app, exit_code);
  cli::AddEncodeCommand(app, exit_code);
  cli::AddDecodeCommand(app, exit_code);
  cli::AddBenchCommand(app, exit_code);
  cli::AddCoordinatorCommand(app, exit_code);
  cli::AddWorkerCommand(app, exit_code);
  cli::AddSubmitCommand(app, exit_code);
  cli::AddJobsCommand(app, exit_code);
  cli::AddWatchCommand(app, exit_code);
  cli::AddLogsCommand(app, exit_code);
  cli::AddCancelCommand(app, exit_code);
  cli::AddDrainCommand(app, exit_code);
  cli::AddCertsCommand(app, exit_code);
  cli::AddCompletionCommand(app, exit_code);
  if (const std::string unknown = cli::UnknownCommand(app, {argv + 1, argv + std::max(argc, 1)}); !unknown.empty()) {
    return cli::Finish(absl::InvalidArgumentError(unknown));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    std::ostringstream out, err;
    app.exit(error, out, err);
    cli::Print("{}", out.str());
    cli::Print(stderr, "{}", telemetry::Escaped(err.str()));
    return asked ? cli::kExitDone : cli::kExitUsage;
  } catch (const std::exception& error) {
    return cli::Finish(absl::InternalError(fmt::format("an error that nothing was prepared for: {}", error.what())));
  }
  return cli::CheckOutput(app, exit_code);
}
