#include "worker/data/tokenizer_files.h"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "worker/data/byte_alphabet.h"
#include "worker/data/files.h"
#include "worker/data/pre_tokenizer.h"

namespace filigree::data {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{1} << 28;

std::string Quoted(const std::string& bytes) { return Json(ToPrintable(bytes)).dump(); }

}  // namespace

std::string FormatTokenizerJson(const std::vector<Merge>& merges, const std::vector<std::string>& tokens) {
  const std::string end_of_text = Json(kEndOfText).dump();
  std::string out = fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [
    {{"id": {}, "content": {}, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}
  ],
  "normalizer": null,
  "pre_tokenizer": {{
    "type": "Sequence",
    "pretokenizers": [
      {{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Isolated", "invert": false}},
      {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}}
    ]
  }},
  "post_processor": null,
  "decoder": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {{
)",
                                tokens.size(), end_of_text, Json(kPreTokenPattern).dump());
  for (size_t id = 0; id < tokens.size(); ++id) out += fmt::format("      {}: {},\n", Quoted(tokens[id]), id);
  out += fmt::format("      {}: {}\n    }},\n    \"merges\": [", end_of_text, tokens.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string merge = ToPrintable(tokens[merges[rank].first]) + ' ' + ToPrintable(tokens[merges[rank].second]);
    out += fmt::format("{}\n      {}", rank == 0 ? "" : ",", Json(merge).dump());
  }
  return out + "\n    ]\n  }\n}\n";
}

std::string FormatEncoderJson(const Tokenizer& tokenizer) {
  std::string out = "{";
  for (int id = 0; id < tokenizer.end_of_text(); ++id)
    out += fmt::format("{}: {}, ", Quoted(tokenizer.TokenBytes(id)), id);
  return out + fmt::format("{}: {}}}\n", Json(kEndOfText).dump(), tokenizer.end_of_text());
}

std::string FormatVocabBpe(const Tokenizer& tokenizer) {
  std::string out = "#version: 0.2\n";
  for (const auto& [left, right] : tokenizer.merges()) {
    out += fmt::format("{} {}\n", ToPrintable(tokenizer.TokenBytes(left)), ToPrintable(tokenizer.TokenBytes(right)));
  }
  return out;
}

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& dir) {
  const std::string path = dir + "/" + kTokenizerJsonFile;
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxFileBytes);
  if (text.ok()) return ParseTokenizerJson(*text, path);
  if (!absl::IsNotFound(text.status())) return text.status();
  const absl::StatusOr<std::string> encoder = ReadWholeFile(dir + "/" + kEncoderJsonFile, kMaxFileBytes);
  const absl::StatusOr<std::string> merges = ReadWholeFile(dir + "/" + kVocabBpeFile, kMaxFileBytes);
  if (absl::IsNotFound(encoder.status()) && absl::IsNotFound(merges.status())) {
    return absl::NotFoundError(
        fmt::format("{}: has no tokenizer: neither {} nor {} and {}; `filigree prepare --out {}` makes one", dir,
                    kTokenizerJsonFile, kEncoderJsonFile, kVocabBpeFile, dir));
  }
  if (!encoder.ok()) return encoder.status();
  if (!merges.ok()) return merges.status();
  return ParseEncoderAndMerges(*encoder, *merges, dir);
}

}  // namespace filigree::data
