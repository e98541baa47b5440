#include "worker/interop/export.h"

#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"

// filigree export: a checkpoint in the form of the released models.

namespace filigree::cli {
namespace {

struct ExportOptions {
  std::string path, format, out;
};

absl::Status RunExport(const ExportOptions& options) {
  std::vector<std::string> warnings;
  const auto loaded = checkpoint::LoadAny(checkpoint::RealFileSystem(), options.path, &warnings);
  for (const std::string& warning : warnings) Say("warning: {}", warning);
  if (!loaded.ok()) return loaded.status();
  const interop::Format format = options.format == "hf" ? interop::Format::kHuggingFace : interop::Format::kOpenAi;
  const auto written = interop::ExportCheckpoint(*loaded, format, options.out);
  if (!written.ok()) return written.status();
  Print("{}, step {}, written as\n", loaded->path(), loaded->step());
  for (const std::string& path : *written) Print("  {}\n", path);
  return absl::OkStatus();
}

}  // namespace

void AddExportCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("export", "Write a checkpoint as other programs read it");
  auto options = std::make_shared<ExportOptions>();
  command->add_option("path", options->path, "Run folder (its newest good checkpoint), checkpoint or import")
      ->required();
  command
      ->add_option("--format", options->format,
                   "openai: beeg_config.json and final_model.pt; hf: a Hugging Face folder")
      ->required()
      ->check(CLI::IsMember({"openai", "hf"}));
  command->add_option("--out", options->out, "Folder to write to")->required();
  command->callback([options, &exit_code] { exit_code = Finish(RunExport(*options)); });
}

}  // namespace filigree::cli
