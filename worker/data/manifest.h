#ifndef FILIGREE_WORKER_DATA_MANIFEST_H_
#define FILIGREE_WORKER_DATA_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// manifest.json of a prepared corpus: what is in the folder, where it came from, and what a model has to beat.
// docs/formats/corpus.md gives the keys. The manifest is written last, so a folder that has one is complete.
// It holds no time and no thread count: the same input and options give the same bytes.

namespace filigree::data {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kCorpusFormat[] = "filigree-corpus";  // its key "format"
inline constexpr int kCorpusVersion = 1;                    // and "version"

struct FileEntry {
  std::string name;  // inside the folder
  int64_t bytes = 0;
  std::string sha256;
};

struct Split {
  int64_t documents = 0;
  int64_t bytes = 0;   // of text
  int64_t tokens = 0;  // one end-of-text a document included
  std::vector<FileEntry> shards;

  double bytes_per_token() const { return tokens > 0 ? static_cast<double>(bytes) / static_cast<double>(tokens) : 0; }
};

// Cross-entropy of the validation split, mean over all its tokens but the first, under models that need no training
// loop (baselines.h). Bits a byte = nats / ln 2 / bytes_per_token of the validation split.
struct Baselines {
  double uniform_nats = 0;  // ln vocab
  double unigram_nats = 0;
  double bigram_nats = 0;  // interpolated Kneser-Ney
  double uniform_bits_per_byte = 0;
  double unigram_bits_per_byte = 0;
  double bigram_bits_per_byte = 0;
};

// Files that were found and left out, by reason. `examples` names the first 20 of every reason; dropped.txt names all.
struct Dropped {
  int64_t binary = 0;
  int64_t not_utf8 = 0;
  int64_t duplicate = 0;
  int64_t empty = 0;
  int64_t too_large = 0;
  int64_t unreadable = 0;
  std::vector<std::string> examples;

  int64_t total() const { return binary + not_utf8 + duplicate + empty + too_large + unreadable; }
};

struct Manifest {
  int vocab = 0;
  int merges = 0;
  std::string tokenizer_sha256;  // Tokenizer::digest()
  std::string content_sha256;    // of the digest of the tokenizer and of all shards: what a run depends on
  Split train, validation;
  Baselines baselines;
  Dropped dropped;
  std::vector<FileEntry> files;  // everything in the folder but shards and the manifest itself

  // How it was made.
  std::vector<std::string> inputs, extensions;
  double val_fraction = 0;
  int64_t seed = 0;
  int64_t max_file_bytes = 0;
  int64_t shard_tokens = 0;
};

// The text of manifest.json.
std::string FormatManifest(const Manifest& manifest);

// DataLoss naming the key that is missing, of a wrong type or out of range. File names must be plain names, so that a
// manifest cannot lead out of its folder.
absl::StatusOr<Manifest> ParseManifest(const std::string& text, const std::string& path);

// NotFound where `dir` has no manifest.
absl::StatusOr<Manifest> ReadManifest(const std::string& dir);

// "left out: 4 duplicate, 1 not UTF-8", or "no files were left out".
std::string DescribeDropped(const Dropped& dropped);

// See Manifest::content_sha256.
std::string ContentDigest(const Manifest& manifest);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_MANIFEST_H_
