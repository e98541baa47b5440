#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "worker/data/byte_alphabet.h"
#include "worker/data/pre_tokenizer.h"
#include "worker/data/tokenizer_files.h"

namespace filigree::data {
namespace {

using Json = nlohmann::json;
using IdOfToken = std::unordered_map<std::string, uint16_t>;  // by bytes

absl::Status Refuse(const std::string& path, const std::string& what) {
  return absl::DataLossError(
      fmt::format("{}: {}; expected a byte-level BPE tokenizer as `filigree prepare` writes it", path, what));
}

// The entry at a path of keys, or null where it is missing.
const Json& At(const Json& root, std::initializer_list<const char*> keys) {
  static const Json null;
  const Json* node = &root;
  for (const char* key : keys) {
    if (!node->is_object() || !node->contains(key)) return null;
    node = &(*node)[key];
  }
  return *node;
}

// One merge as written in a file -> its two parts as bytes.
std::optional<std::pair<std::string, std::string>> ParseMerge(std::string_view left, std::string_view right) {
  const auto l = FromPrintable(left), r = FromPrintable(right);
  if (!l || !r || l->empty() || r->empty()) return std::nullopt;
  return std::pair(*l, *r);
}

std::optional<std::pair<std::string, std::string>> ParseMerge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  return ParseMerge(line.substr(0, space), line.substr(space + 1));
}

std::optional<std::pair<std::string, std::string>> ParseMerge(const Json& entry) {
  if (entry.is_string()) return ParseMerge(std::string_view(entry.get_ref<const std::string&>()));
  if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_string()) return std::nullopt;
  return ParseMerge(std::string_view(entry[0].get_ref<const std::string&>()),
                    std::string_view(entry[1].get_ref<const std::string&>()));
}

// Merges in rank order, by parts -> by ids.
class MergeReader {
 public:
  explicit MergeReader(const std::string& path) : path_(path) {
    for (int id = 0; id < 256; ++id) id_of_.emplace(std::string(1, static_cast<char>(BytesInIdOrder()[id])), id);
  }

  absl::Status Add(const std::optional<std::pair<std::string, std::string>>& parts) {
    const size_t rank = merges_.size();
    if (!parts) return Refuse(path_, fmt::format("merge {} is not \"left right\" in GPT-2's byte alphabet", rank));
    const auto left = id_of_.find(parts->first), right = id_of_.find(parts->second);
    if (left == id_of_.end() || right == id_of_.end()) {
      return Refuse(path_, fmt::format("merge {} joins a token that no earlier merge makes", rank));
    }
    if (rank >= kMaxVocab - kMinVocab || parts->first.size() + parts->second.size() > kMaxTokenBytes) {
      return Refuse(
          path_, fmt::format("merge {} is beyond the limits ({} tokens of {} bytes)", rank, kMaxVocab, kMaxTokenBytes));
    }
    merges_.emplace_back(left->second, right->second);
    id_of_.emplace(parts->first + parts->second, static_cast<uint16_t>(256 + rank));
    return absl::OkStatus();
  }

  absl::StatusOr<Tokenizer> Finish() {
    absl::StatusOr<Tokenizer> tokenizer = Tokenizer::FromMerges(std::move(merges_));
    if (!tokenizer.ok()) return Refuse(path_, std::string(tokenizer.status().message()));
    return tokenizer;
  }

 private:
  std::string path_;
  IdOfToken id_of_;
  std::vector<Merge> merges_;
};

// The vocabulary a file gives must be the one its merges make, `end_of_text` included where it stands in there.
absl::Status CheckVocabulary(const Json& vocab, const Tokenizer& tokenizer, bool end_of_text_needed,
                             const std::string& path) {
  if (!vocab.is_object()) return Refuse(path, "has no vocabulary");
  size_t expected = static_cast<size_t>(tokenizer.end_of_text());
  if (end_of_text_needed || vocab.contains(kEndOfText)) ++expected;
  if (vocab.size() != expected) {
    return Refuse(path, fmt::format("has a vocabulary of {}, but its merges make {}", vocab.size(), expected));
  }
  for (size_t id = 0; id < expected; ++id) {
    const bool last = static_cast<int>(id) == tokenizer.end_of_text();
    const std::string token = last ? kEndOfText : ToPrintable(tokenizer.TokenBytes(static_cast<int>(id)));
    const auto entry = vocab.find(token);
    if (entry == vocab.end() || !entry->is_number_integer() || *entry != static_cast<int>(id)) {
      return Refuse(path, fmt::format("token {} should have id {}", Json(token).dump(), id));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSplit(const Json& root, const std::string& path) {
  const Json& parts = At(root, {"pre_tokenizer", "pretokenizers"});
  const bool right_kind = parts.is_array() && parts.size() == 2 && At(parts[0], {"type"}) == "Split" &&
                          At(parts[0], {"behavior"}) == "Isolated" && At(parts[0], {"invert"}) != true &&
                          At(parts[1], {"type"}) == "ByteLevel" && At(parts[1], {"add_prefix_space"}) == false &&
                          At(parts[1], {"use_regex"}) == false;
  if (!right_kind) return Refuse(path, "its pre_tokenizer is not Split (isolated), then ByteLevel without a pattern");
  if (At(parts[0], {"pattern", "Regex"}) != kPreTokenPattern) {
    return Refuse(path, fmt::format("its pre-token pattern is not {}", kPreTokenPattern));
  }
  if (!At(root, {"normalizer"}).is_null()) return Refuse(path, "it has a normalizer");
  return absl::OkStatus();
}

absl::Status CheckModel(const Json& root, const std::string& path) {
  const Json& model = At(root, {"model"});
  if (At(model, {"type"}) != "BPE") return Refuse(path, "its model is not BPE");
  for (const char* key :
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"}) {
    const Json& value = At(model, {key});
    const bool empty_text = value.is_string() && value.get_ref<const std::string&>().empty();
    if (!value.is_null() && value != false && !empty_text) {
      return Refuse(path, fmt::format("its model sets {}, which we do not have", key));
    }
  }
  if (!At(model, {"merges"}).is_array()) return Refuse(path, "its model has no merges");
  return absl::OkStatus();
}

absl::Status CheckSpecialTokens(const Json& root, const Tokenizer& tokenizer, const std::string& path) {
  const Json& added = At(root, {"added_tokens"});
  if (added.is_array() && added.size() == 1 && At(added[0], {"content"}) == kEndOfText &&
      At(added[0], {"id"}) == tokenizer.end_of_text()) {
    return absl::OkStatus();
  }
  return Refuse(
      path, fmt::format("its added tokens are not just {} with the last id, {}", kEndOfText, tokenizer.end_of_text()));
}

}  // namespace

absl::StatusOr<Tokenizer> ParseTokenizerJson(const std::string& text, const std::string& path) {
  const Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded()) return Refuse(path, "is not JSON");
  if (absl::Status status = CheckModel(root, path); !status.ok()) return status;
  if (absl::Status status = CheckSplit(root, path); !status.ok()) return status;
  MergeReader reader(path);
  for (const Json& entry : At(root, {"model", "merges"})) {
    if (absl::Status status = reader.Add(ParseMerge(entry)); !status.ok()) return status;
  }
  absl::StatusOr<Tokenizer> tokenizer = reader.Finish();
  if (!tokenizer.ok()) return tokenizer;
  if (absl::Status status = CheckVocabulary(At(root, {"model", "vocab"}), *tokenizer, false, path); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckSpecialTokens(root, *tokenizer, path); !status.ok()) return status;
  return tokenizer;
}

absl::StatusOr<Tokenizer> ParseEncoderAndMerges(const std::string& encoder_json, const std::string& vocab_bpe,
                                                const std::string& dir) {
  const std::string bpe_path = dir + "/" + kVocabBpeFile, encoder_path = dir + "/" + kEncoderJsonFile;
  MergeReader reader(bpe_path);
  bool first = true;
  for (size_t at = 0; at < vocab_bpe.size();) {
    const size_t end = std::min(vocab_bpe.find('\n', at), vocab_bpe.size());
    const std::string_view line = std::string_view(vocab_bpe).substr(at, end - at);
    at = end + 1;
    // A merge of '#' may follow, so only the first line can be the version.
    if (std::exchange(first, false) && line.starts_with("#version")) continue;
    if (absl::Status status = reader.Add(ParseMerge(line)); !status.ok()) return status;
  }
  absl::StatusOr<Tokenizer> tokenizer = reader.Finish();
  if (!tokenizer.ok()) return tokenizer;
  const Json encoder = Json::parse(encoder_json, nullptr, false);
  if (encoder.is_discarded()) return Refuse(encoder_path, "is not JSON");
  if (absl::Status status = CheckVocabulary(encoder, *tokenizer, true, encoder_path); !status.ok()) return status;
  return tokenizer;
}

}  // namespace filigree::data
