#include "worker/data/corpus.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "worker/data/sha256.h"

namespace filigree::data {
namespace {

absl::Status CheckHashes(const std::string& dir, const Manifest& manifest) {
  std::vector<FileEntry> all = manifest.files;
  all.insert(all.end(), manifest.train.shards.begin(), manifest.train.shards.end());
  all.insert(all.end(), manifest.validation.shards.begin(), manifest.validation.shards.end());
  for (const FileEntry& file : all) {
    const absl::StatusOr<std::string> hash = Sha256OfFile(dir + "/" + file.name);
    if (!hash.ok()) return hash.status();
    if (*hash != file.sha256) {
      return absl::DataLossError(
          fmt::format("{}/{}: its SHA-256 is {}, the manifest says {}: the file was changed or damaged; run `filigree "
                      "prepare` again",
                      dir, file.name, *hash, file.sha256));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenStream> OpenSplit(const std::string& dir, const Split& split, int vocab) {
  std::vector<std::string> paths;
  for (const FileEntry& shard : split.shards) paths.push_back(dir + "/" + shard.name);
  absl::StatusOr<TokenStream> stream = TokenStream::Open(paths);
  if (!stream.ok()) return stream;
  if (stream->size() != split.tokens) {
    return absl::DataLossError(
        fmt::format("{}: its shards hold {} tokens, the manifest says {}; run `filigree prepare` again", dir,
                    stream->size(), split.tokens));
  }
  if (absl::Status status = stream->CheckVocab(vocab); !status.ok()) return status;
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

absl::StatusOr<std::unique_ptr<Corpus>> Corpus::Open(const std::string& dir, Verify verify) {
  absl::StatusOr<Manifest> manifest = ReadManifest(dir);
  if (absl::IsNotFound(manifest.status())) return NotPrepared(dir);
  if (!manifest.ok()) return manifest.status();
  if (verify == Verify::kHashes) {
    if (absl::Status status = CheckHashes(dir, *manifest); !status.ok()) return status;
  }
  absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(dir);
  if (!tokenizer.ok()) return tokenizer.status();
  if (tokenizer->digest() != manifest->tokenizer_sha256 || tokenizer->vocab_size() != manifest->vocab) {
    return absl::DataLossError(fmt::format(
        "{}: the tokenizer ({} ids) is not the one the manifest was made with ({} ids); run `filigree prepare` again",
        dir, tokenizer->vocab_size(), manifest->vocab));
  }
  absl::StatusOr<TokenStream> train = OpenSplit(dir, manifest->train, manifest->vocab);
  if (!train.ok()) return train.status();
  absl::StatusOr<TokenStream> validation = OpenSplit(dir, manifest->validation, manifest->vocab);
  if (!validation.ok()) return validation.status();
  return std::unique_ptr<Corpus>(
      new Corpus(dir, *std::move(manifest), *std::move(tokenizer), *std::move(train), *std::move(validation)));
}

double BitsPerByte(double nats, double bytes_per_token) { return nats / std::numbers::ln2 / bytes_per_token; }

}  // namespace filigree::data
