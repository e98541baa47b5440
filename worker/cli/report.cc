#include "worker/report/report.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "worker/cli/command.h"
#include "worker/cli/print.h"

// filigree report RUN [--out FILE]

namespace filigree::cli {

void AddReportCommand(CLI::App& app, int& exit_code) {
  struct Options {
    std::string run, out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Write one offline HTML page about a run, finished or going on");
  command->add_option("run", options->run, "The run folder")->required();
  command->add_option("--out", options->out, "The file to write; RUN/report.html where it is not given");
  command->callback([options, &exit_code] {
    const auto written = report::WriteReport(options->run, options->out);
    exit_code = Finish(written.status());
    // Into a pipe or a terminal the page itself is the output.
    std::error_code error;
    if (written.ok() && std::filesystem::is_regular_file(*written, error)) Print("{}\n", *written);
  });
}

}  // namespace filigree::cli
