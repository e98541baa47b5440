// filigree: trains weight-sparse transformers. One file a subcommand; this one only lists them.

#include <CLI/CLI.hpp>
#include <csignal>

#include "fmt/format.h"
#include "kernels/base/simd.h"
#include "worker/cli/command.h"
#include "worker/cli/revision.h"

int main(int argc, char** argv) {
  using namespace filigree;
  if (!kernels::SimdSupported()) {
    fmt::print(stderr, "filigree: this processor has neither AVX2 nor AVX-512; one of them is needed\n");
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
  cli::AddReportCommand(app, exit_code);
  cli::AddExportCommand(app, exit_code);
  cli::AddImportCommand(app, exit_code);
  cli::AddEncodeCommand(app, exit_code);
  cli::AddDecodeCommand(app, exit_code);
  cli::AddBenchCommand(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    app.exit(error);
    return asked ? cli::kExitDone : cli::kExitUsage;
  }
  return exit_code;
}
