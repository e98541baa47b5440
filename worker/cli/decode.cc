#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/data/files.h"
#include "worker/data/parse_ids.h"
#include "worker/data/tokenizer.h"

// filigree decode: ids -> the bytes they stand for.

namespace filigree::cli {
namespace {

struct Flags {
  std::string data, file;
  std::vector<std::string> ids;
};

absl::StatusOr<std::string> ReadIds(const Flags& flags) {
  if (!flags.ids.empty()) return fmt::format("{}", fmt::join(flags.ids, " "));
  return data::ReadInput(flags.file, data::kMaxInputBytes);
}

absl::Status Run(const Flags& flags) {
  const absl::StatusOr<data::Tokenizer> tokenizer = data::Tokenizer::Load(flags.data);
  if (!tokenizer.ok()) return tokenizer.status();
  const absl::StatusOr<std::string> text = ReadIds(flags);
  if (!text.ok()) return text.status();
  const absl::StatusOr<std::vector<uint16_t>> ids = data::ParseIds(*text, tokenizer->vocab_size());
  if (!ids.ok()) return ids.status();
  const std::string bytes = tokenizer->Decode(*ids);
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddDecodeCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("decode", "Token ids in, the bytes they stand for out, nothing added");
  auto flags = std::make_shared<Flags>();
  command->add_option("--data", flags->data, "Folder of a prepared corpus or of a tokenizer")->required();
  CLI::Option* ids = command->add_option("ids", flags->ids, "Ids; none: from --file or standard input");
  command->add_option("--file", flags->file, "File of ids, apart by spaces, commas or lines, or a JSON array")
      ->excludes(ids);
  command->callback([flags, &exit_code] { exit_code = Finish(Run(*flags)); });
}

}  // namespace filigree::cli
