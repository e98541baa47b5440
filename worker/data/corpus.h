#ifndef FILIGREE_WORKER_DATA_CORPUS_H_
#define FILIGREE_WORKER_DATA_CORPUS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/data/manifest.h"
#include "worker/data/token_stream.h"
#include "worker/data/tokenizer.h"

// A prepared corpus, open for reading: manifest, tokenizer and the token streams of both splits.
//
// Threads        const after Open: any number of threads.

namespace filigree::data {

class Corpus {
 public:
  // Reads every shard: its header and size, its SHA-256, and whether all of its tokens are below the vocabulary.
  // What the digest promises is therefore what the run gets. Other files are not looked at (documents.jsonl, which may
  // be gone), but the tokenizer's.
  //
  // NotFound: `dir` is missing or was never prepared (or `prepare` was interrupted); DataLoss: a file is missing, cut
  // short, foreign or disagrees with the manifest. The message names the file and says what to do.
  //
  // tick (may be empty) is called every now and then: a large corpus takes minutes.
  static absl::StatusOr<std::unique_ptr<Corpus>> Open(const std::string& dir, const std::function<void()>& tick = {});

  const std::string& dir() const { return dir_; }
  const Manifest& manifest() const { return manifest_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const TokenStream& train() const { return train_; }
  const TokenStream& validation() const { return validation_; }

  // Identifies tokenizer and tokens; a run that goes on must find the one it began with.
  const std::string& digest() const { return manifest_.content_sha256; }

  double train_bytes_per_token() const { return manifest_.train.bytes_per_token(); }
  double validation_bytes_per_token() const { return manifest_.validation.bytes_per_token(); }

 private:
  Corpus(std::string dir, Manifest manifest, Tokenizer tokenizer, TokenStream train, TokenStream validation)
      : dir_(std::move(dir)),
        manifest_(std::move(manifest)),
        tokenizer_(std::move(tokenizer)),
        train_(std::move(train)),
        validation_(std::move(validation)) {}

  std::string dir_;
  Manifest manifest_;
  Tokenizer tokenizer_;
  TokenStream train_, validation_;
};

// Nats a token -> bits a byte, for text of `bytes_per_token`.
double BitsPerByte(double nats, double bytes_per_token);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_CORPUS_H_
