#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/data/encoder.h"
#include "worker/data/files.h"
#include "worker/data/tokenizer.h"
#include "worker/data/utf8.h"

// filigree encode: text -> ids.

namespace filigree::cli {
namespace {

struct Flags {
  std::string data, file, text;
  bool has_text = false, json = false;
};

absl::StatusOr<std::string> ReadText(const Flags& flags) {
  if (flags.has_text) return flags.text;
  return data::ReadInput(flags.file, data::kMaxInputBytes);
}

absl::Status Run(const Flags& flags) {
  const absl::StatusOr<data::Tokenizer> tokenizer = data::Tokenizer::Load(flags.data);
  if (!tokenizer.ok()) return tokenizer.status();
  const absl::StatusOr<std::string> text = ReadText(flags);
  if (!text.ok()) return text.status();
  if (const size_t bad = data::FindInvalidUtf8(*text); bad != std::string::npos) {
    return absl::DataLossError(
        fmt::format("the text is not UTF-8: byte 0x{:02x} at {}; convert it first, for example with iconv",
                    static_cast<unsigned char>((*text)[bad]), bad));
  }
  std::vector<uint16_t> ids;
  data::Encoder(*tokenizer).Encode(*text, ids);
  if (flags.json) {
    Print("[{}]\n", fmt::join(ids, ", "));
  } else {
    Print("{}\n", fmt::join(ids, " "));
  }
  return absl::OkStatus();
}

}  // namespace

void AddEncodeCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("encode", "Text in, token ids out: one line");
  auto flags = std::make_shared<Flags>();
  command->add_option("--data", flags->data, "Folder of a prepared corpus or of a tokenizer")->required();
  CLI::Option* file = command->add_option("file", flags->file, "File of text; none or -: standard input");
  CLI::Option* text = command->add_option("--text", flags->text, "The text itself")->excludes(file);
  command->add_flag("--json", flags->json, "A JSON array instead of numbers with spaces between");
  command->callback([flags, text, &exit_code] {
    flags->has_text = text->count() > 0;
    exit_code = Finish(Run(*flags));
  });
}

}  // namespace filigree::cli
