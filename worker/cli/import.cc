#include "worker/interop/import.h"

#include <memory>
#include <string>

#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"

// filigree import: a released model as a checkpoint of ours.

namespace filigree::cli {
namespace {

struct ImportOptions {
  std::string source, out;
};

absl::Status RunImport(const ImportOptions& options) {
  const auto imported = interop::ImportModel(options.source, options.out);
  if (!imported.ok()) return imported.status();
  for (const std::string& note : imported->notes) Say("note: {}", note);
  Print("{} tensors, {} weights, {} nonzero (density {:.6f}), in {}\n", imported->tensors, imported->elements,
        imported->nonzeros, static_cast<double>(imported->nonzeros) / static_cast<double>(imported->elements),
        options.out);
  Print("a run starts from it with --init.from={}; filigree eval and generate read it with --data=CORPUS\n",
        options.out);
  return absl::OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("import", "Read a released model (openai or hf) into a checkpoint");
  auto options = std::make_shared<ImportOptions>();
  command
      ->add_option("source", options->source,
                   "Folder with beeg_config.json and final_model.pt, or config.json and model.safetensors")
      ->required();
  command->add_option("--out", options->out, "New folder for the checkpoint")->required();
  command->callback([options, &exit_code] { exit_code = Finish(RunImport(*options)); });
}

}  // namespace filigree::cli
