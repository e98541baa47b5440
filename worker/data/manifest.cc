#include "worker/data/manifest.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "worker/data/sha256.h"

namespace filigree::data {
namespace {

using Json = nlohmann::ordered_json;

Json Files(const std::vector<FileEntry>& files) {
  Json list = Json::array();
  for (const FileEntry& file : files)
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return list;
}

Json SplitJson(const Split& split) {
  return {{"documents", split.documents},
          {"bytes", split.bytes},
          {"tokens", split.tokens},
          {"bytes_per_token", split.bytes_per_token()},
          {"shards", Files(split.shards)}};
}

Json BaselinesJson(const Baselines& b) {
  return {{"uniform", {{"nats_per_token", b.uniform_nats}, {"bits_per_byte", b.uniform_bits_per_byte}}},
          {"unigram", {{"nats_per_token", b.unigram_nats}, {"bits_per_byte", b.unigram_bits_per_byte}}},
          {"kneser_ney_bigram", {{"nats_per_token", b.bigram_nats}, {"bits_per_byte", b.bigram_bits_per_byte}}}};
}

Json DroppedJson(const Dropped& d) {
  return {{"binary", d.binary},       {"not_utf8", d.not_utf8},     {"duplicate", d.duplicate}, {"empty", d.empty},
          {"too_large", d.too_large}, {"unreadable", d.unreadable}, {"examples", d.examples}};
}

}  // namespace

std::string ContentDigest(const Manifest& manifest) {
  std::string all = manifest.tokenizer_sha256;
  for (const Split* split : {&manifest.train, &manifest.validation}) {
    for (const FileEntry& shard : split->shards) all += "\n" + shard.sha256;
    all += "\n";
  }
  return Sha256Hex(all);
}

std::string DescribeDropped(const Dropped& d) {
  const std::pair<int64_t, const char*> reasons[] = {{d.duplicate, "duplicate"}, {d.empty, "empty"},
                                                     {d.binary, "binary"},       {d.not_utf8, "not UTF-8"},
                                                     {d.too_large, "too large"}, {d.unreadable, "unreadable"}};
  std::string text;
  for (const auto& [count, reason] : reasons) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "left out: " : ", ", count, reason);
  }
  return text.empty() ? "no files were left out" : text;
}

std::string FormatManifest(const Manifest& m) {
  const Json root = {
      {"format", kCorpusFormat},
      {"version", kCorpusVersion},
      {"content_sha256", m.content_sha256},
      {"tokenizer",
       {{"vocab", m.vocab}, {"merges", m.merges}, {"end_of_text", m.vocab - 1}, {"sha256", m.tokenizer_sha256}}},
      {"train", SplitJson(m.train)},
      {"validation", SplitJson(m.validation)},
      {"validation_baselines", BaselinesJson(m.baselines)},
      {"dropped", DroppedJson(m.dropped)},
      {"files", Files(m.files)},
      {"made_from",
       {{"inputs", m.inputs},
        {"extensions", m.extensions},
        {"val_fraction", m.val_fraction},
        {"seed", m.seed},
        {"max_file_bytes", m.max_file_bytes},
        {"shard_tokens", m.shard_tokens}}}};
  // Paths are bytes and may be no UTF-8: such bytes are shown as U+FFFD.
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace filigree::data
