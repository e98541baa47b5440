#include "worker/train/start_from.h"

#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/texts.h"
#include "worker/config/keys.h"
#include "worker/config/value.h"
#include "worker/train/stored_state.h"

namespace filigree::train {
namespace {

// "model.afrac is 0.5 there and 0.25 here; ...": every setting of the model that differs. n_ctx says nothing about a
// model without positions.
std::string ModelDifferences(const config::Settings& there, const config::Settings& here) {
  const bool positions = there.model.d_pos_emb > 0 || here.model.d_pos_emb > 0;
  std::string text;
  for (const config::Key& key : config::Keys()) {
    if (key.section() != "model" || (key.name == "model.n_ctx" && !positions)) continue;
    const std::string a = config::FormatValue(key, there), b = config::FormatValue(key, here);
    if (a != b) text += fmt::format("{}{} is {} there and {} here", text.empty() ? "" : "; ", key.name, a, b);
  }
  return text;
}

}  // namespace

absl::Status StartFrom(const config::Settings& settings, const data::Corpus& corpus, TrainState& state,
                       std::vector<std::string>& notes) {
  const std::string& source = settings.init.from;
  const absl::StatusOr<checkpoint::Checkpoint> from = checkpoint::LoadAny(checkpoint::RealFileSystem(), source, &notes);
  if (!from.ok()) return from.status();
  const absl::StatusOr<config::Settings> stored = StoredSettings(*from);
  const std::string differences = stored.ok() ? ModelDifferences(*stored, settings) : "";
  const absl::Status status = RestoreWeights(*from, state.registry, state.weights, nullptr);
  if (!status.ok()) {
    return absl::Status(status.code(), fmt::format("init.from = {}: {}{}{}", source, std::string(status.message()),
                                                   differences.empty() ? "" : ": ", differences));
  }
  notes.push_back(fmt::format("starts from the weights of {}", from->path()));
  if (!differences.empty()) notes.push_back(fmt::format("the model it starts from was another: {}", differences));
  const absl::StatusOr<std::string> tokenizer = from->Text(checkpoint::texts::kTokenizerSha256);
  if (tokenizer.ok() && *tokenizer != corpus.tokenizer().digest()) {
    notes.push_back(
        fmt::format("{} was trained with another tokenizer than {} has: its embeddings belong to other tokens",
                    from->path(), corpus.dir()));
  }
  return absl::OkStatus();
}

}  // namespace filigree::train
