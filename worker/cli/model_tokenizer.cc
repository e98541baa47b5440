#include "worker/cli/model_tokenizer.h"

#include "absl/status/status.h"
#include "fmt/format.h"

namespace filigree::cli {

absl::StatusOr<data::Tokenizer> TokenizerOf(const train::LoadedModel& model, const std::string& data_dir) {
  if (data_dir.empty() && model.tokenizer.has_value()) return *model.tokenizer;
  const std::string dir = data_dir.empty() ? model.settings.data.dir : data_dir;
  if (dir.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{} holds no tokenizer and names no corpus; give a folder with tokenizer.json with --data DIR", model.path));
  }
  absl::StatusOr<data::Tokenizer> tokenizer = data::Tokenizer::Load(dir);
  if (!tokenizer.ok()) return tokenizer;
  if (model.tokenizer.has_value() && model.tokenizer->digest() != tokenizer->digest()) {
    return absl::FailedPreconditionError(
        fmt::format("the tokenizer in {} is not the one {} was trained with; leave --data out", dir, model.path));
  }
  if (tokenizer->vocab_size() != model.spec.vocab) {
    return absl::FailedPreconditionError(fmt::format("the tokenizer in {} has {} tokens, the model {} has {}", dir,
                                                     tokenizer->vocab_size(), model.path, model.spec.vocab));
  }
  return tokenizer;
}

}  // namespace filigree::cli
