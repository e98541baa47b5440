#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "worker/data/files.h"
#include "worker/data/manifest.h"
#include "worker/data/tokenizer.h"

namespace filigree::data {
namespace {

using Json = nlohmann::json;  // finds keys in logarithmic time, however many a foreign file has

constexpr int64_t kMaxManifestBytes = int64_t{1} << 26;
constexpr int64_t kMaxCount = int64_t{1} << 53;  // what JSON numbers hold exactly

// Reads typed values out of a JSON object and remembers the first thing that was wrong.
class Reader {
 public:
  Reader(const Json& root, std::string path) : root_(root), path_(std::move(path)) {}

  int64_t Count(const std::string& key, int64_t low = 0, int64_t high = kMaxCount) {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_number_integer()) return Wrong(key, "a whole number"), low;
    const auto number =
        value->is_number_unsigned() && value->get<uint64_t>() > kMaxCount ? kMaxCount + 1 : value->get<int64_t>();
    if (number < low || number > high) return Wrong(key, fmt::format("a number from {} to {}", low, high)), low;
    return number;
  }

  double Number(const std::string& key) {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()))
      return Wrong(key, "a number"), 0;
    return value->get<double>();
  }

  std::string Digest(const std::string& key) {
    std::string text = Text(key);
    if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
      Wrong(key, "a SHA-256 in hex");
    return text;
  }

  std::string Text(const std::string& key) {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_string()) return Wrong(key, "a string"), "";
    return value->get<std::string>();
  }

  std::vector<std::string> Texts(const std::string& key) {
    std::vector<std::string> texts;
    for (size_t i = 0, n = Length(key); i < n; ++i) texts.push_back(Text(fmt::format("{}/{}", key, i)));
    return texts;
  }

  std::vector<FileEntry> Files(const std::string& key) {
    std::vector<FileEntry> files;
    for (size_t i = 0, n = Length(key); i < n; ++i) {
      const std::string at = fmt::format("{}/{}/", key, i);
      FileEntry file{Text(at + "name"), Count(at + "bytes"), Digest(at + "sha256")};
      const bool plain = !file.name.empty() && file.name.find('/') == std::string::npos &&
                         file.name.find('\0') == std::string::npos && file.name != "." && file.name != "..";
      if (!plain) Wrong(at + "name", "a plain file name");
      files.push_back(std::move(file));
    }
    return files;
  }

  Split ReadSplit(const std::string& key) {
    return {Count(key + "/documents", 1), Count(key + "/bytes", 1), Count(key + "/tokens", 1), Files(key + "/shards")};
  }

  absl::Status status() const { return status_; }

  void Wrong(const std::string& key, const std::string& expected) {
    if (!status_.ok()) return;
    status_ = absl::DataLossError(fmt::format("{}: {} is not {}; run `filigree prepare` again", path_, key, expected));
  }

 private:
  // Keys are paths with slashes, array indices included.
  const Json* Find(const std::string& key) const {
    const Json* node = &root_;
    for (size_t at = 0; at <= key.size();) {
      const size_t end = std::min(key.find('/', at), key.size());
      const std::string part = key.substr(at, end - at);
      if (node->is_object()) {
        const auto found = node->find(part);
        if (found == node->end()) return nullptr;
        node = &*found;
      } else if (node->is_array()) {
        size_t index = 0;
        const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
        if (error != std::errc() || stop != part.data() + part.size() || index >= node->size()) return nullptr;
        node = &(*node)[index];
      } else {
        return nullptr;
      }
      at = end + 1;
    }
    return node;
  }

  size_t Length(const std::string& key) {
    const Json* value = Find(key);
    if (value == nullptr || !value->is_array()) return Wrong(key, "a list"), 0;
    return value->size();
  }

  const Json& root_;
  std::string path_;
  absl::Status status_;
};

Baselines ReadBaselines(Reader& in) {
  const std::string uniform = "validation_baselines/uniform/", unigram = "validation_baselines/unigram/",
                    bigram = "validation_baselines/kneser_ney_bigram/";
  Baselines b;
  b.uniform_nats = in.Number(uniform + "nats_per_token");
  b.unigram_nats = in.Number(unigram + "nats_per_token");
  b.bigram_nats = in.Number(bigram + "nats_per_token");
  b.uniform_bits_per_byte = in.Number(uniform + "bits_per_byte");
  b.unigram_bits_per_byte = in.Number(unigram + "bits_per_byte");
  b.bigram_bits_per_byte = in.Number(bigram + "bits_per_byte");
  return b;
}

Dropped ReadDropped(Reader& in) {
  return {in.Count("dropped/binary"),  in.Count("dropped/not_utf8"),  in.Count("dropped/duplicate"),
          in.Count("dropped/empty"),   in.Count("dropped/too_large"), in.Count("dropped/unreadable"),
          in.Texts("dropped/examples")};
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(const std::string& text, const std::string& path) {
  const Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) {
    return absl::DataLossError(fmt::format("{}: is not a JSON object; run `filigree prepare` again", path));
  }
  Reader in(root, path);
  if (in.Text("format") != kCorpusFormat) in.Wrong("format", fmt::format("\"{}\"", kCorpusFormat));
  in.Count("version", kCorpusVersion, kCorpusVersion);
  Manifest m;
  m.content_sha256 = in.Digest("content_sha256");
  m.vocab = static_cast<int>(in.Count("tokenizer/vocab", kMinVocab, kMaxVocab));
  m.merges = static_cast<int>(in.Count("tokenizer/merges", m.vocab - kMinVocab, m.vocab - kMinVocab));
  m.tokenizer_sha256 = in.Digest("tokenizer/sha256");
  m.train = in.ReadSplit("train");
  m.validation = in.ReadSplit("validation");
  m.baselines = ReadBaselines(in);
  m.dropped = ReadDropped(in);
  m.files = in.Files("files");
  m.inputs = in.Texts("made_from/inputs");
  m.extensions = in.Texts("made_from/extensions");
  m.val_fraction = in.Number("made_from/val_fraction");
  m.seed = in.Count("made_from/seed");
  m.max_file_bytes = in.Count("made_from/max_file_bytes");
  m.shard_tokens = in.Count("made_from/shard_tokens");
  if (!in.status().ok()) return in.status();
  if (m.content_sha256 != ContentDigest(m)) in.Wrong("content_sha256", "the digest of tokenizer and shards");
  if (!in.status().ok()) return in.status();
  return m;
}

absl::StatusOr<Manifest> ReadManifest(const std::string& dir) {
  const std::string path = dir + "/" + kManifestFile;
  const absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxManifestBytes);
  if (!text.ok()) return text.status();
  return ParseManifest(*text, path);
}

}  // namespace filigree::data
