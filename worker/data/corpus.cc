#include "worker/data/corpus.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>
#include <vector>

#include "worker/data/sha256.h"

namespace filigree::data {
namespace {

// Of the bytes that the run will read: they are mapped already.
absl::Status CheckHash(const std::string& path, std::string_view bytes, const FileEntry& shard,
                       const std::function<void()>& tick) {
  constexpr size_t kPiece = 16 << 20;
  Sha256 sha256;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kPiece, bytes.size()))) {
    sha256.Add(bytes.data(), std::min(kPiece, bytes.size()));
    if (tick) tick();
  }
  const std::string hash = sha256.Hex();
  if (hash == shard.sha256) return absl::OkStatus();
  return absl::DataLossError(fmt::format(
      "{}: its SHA-256 is {}, the manifest says {}: the file was changed or damaged; copy the corpus again, "
      "or run `filigree prepare` again",
      path, hash, shard.sha256));
}

absl::StatusOr<TokenStream> OpenSplit(const std::string& dir, const Split& split, int vocab,
                                      const std::function<void()>& tick) {
  std::vector<std::string> paths;
  for (const FileEntry& shard : split.shards) paths.push_back(dir + "/" + shard.name);
  absl::StatusOr<TokenStream> stream = TokenStream::Open(paths);
  if (!stream.ok()) return stream;
  if (stream->size() != split.tokens) {
    return absl::DataLossError(
        fmt::format("{}: its shards hold {} tokens, the manifest says {}; run `filigree prepare` again", dir,
                    stream->size(), split.tokens));
  }
  for (int i = 0; i < stream->shards(); ++i) {  // both of a shard, while the system has it in memory
    absl::Status status = stream->CheckVocab(i, vocab, tick);
    if (status.ok()) status = CheckHash(paths[i], stream->ShardBytes(i), split.shards[i], tick);
    if (!status.ok()) return status;
  }
  return stream;
}

absl::Status NotPrepared(const std::string& dir) {
  struct stat info {};
  const bool exists = stat(dir.c_str(), &info) == 0;
  return absl::NotFoundError(
      fmt::format("{}: {}; `filigree prepare --input PATH... --out {}` makes a corpus there", dir,
                  exists ? "has no manifest.json, so it is no prepared corpus or `prepare` was interrupted"
                         : "there is no such folder",
                  dir));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Corpus>> Corpus::Open(const std::string& dir, const std::function<void()>& tick) {
  absl::StatusOr<Manifest> manifest = ReadManifest(dir);
  if (absl::IsNotFound(manifest.status())) return NotPrepared(dir);
  if (!manifest.ok()) return manifest.status();
  absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(dir);
  if (!tokenizer.ok()) return tokenizer.status();
  if (tokenizer->digest() != manifest->tokenizer_sha256 || tokenizer->vocab_size() != manifest->vocab) {
    return absl::DataLossError(fmt::format(
        "{}: the tokenizer ({} ids) is not the one the manifest was made with ({} ids); run `filigree prepare` again",
        dir, tokenizer->vocab_size(), manifest->vocab));
  }
  absl::StatusOr<TokenStream> train = OpenSplit(dir, manifest->train, manifest->vocab, tick);
  if (!train.ok()) return train.status();
  absl::StatusOr<TokenStream> validation = OpenSplit(dir, manifest->validation, manifest->vocab, tick);
  if (!validation.ok()) return validation.status();
  return std::unique_ptr<Corpus>(
      new Corpus(dir, *std::move(manifest), *std::move(tokenizer), *std::move(train), *std::move(validation)));
}

double BitsPerByte(double nats, double bytes_per_token) { return nats / std::numbers::ln2 / bytes_per_token; }

}  // namespace filigree::data
