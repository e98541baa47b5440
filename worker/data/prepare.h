#ifndef FILIGREE_WORKER_DATA_PREPARE_H_
#define FILIGREE_WORKER_DATA_PREPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/manifest.h"
#include "worker/data/progress.h"

// From folders of text to a corpus: find files, leave out what is no text, split off validation, train the tokenizer on
// the training documents, encode both splits, measure the baselines, write it all down. docs/formats/corpus.md
//
// The result is a function of the files' contents, their paths' order and the options; `threads` changes nothing.
// Memory: the different words of the text a thread, the encoded batch (some 16 MiB of text a thread), the different
// pairs of tokens.

namespace filigree::data {

struct PrepareOptions {
  std::vector<std::string> inputs;                // empty: DefaultInputs()
  std::vector<std::string> extensions = {".py"};  // empty: every file
  std::string out;
  int vocab = 2048;            // kMinVocab to kMaxVocab
  double val_fraction = 0.05;  // inside (0, 1)
  int64_t seed = 1;            // of the split, not negative
  int threads = 0;             // 0: all cores
  int64_t max_file_bytes = int64_t{64} << 20;
  int64_t shard_tokens = 100'000'000;
};

// InvalidArgument: an option out of range, or a vocabulary that the text is too small for (says what would work);
// NotFound: an input does not exist; FailedPrecondition: no text is left, too little for two splits, or `out` holds
// something else; DataLoss: a file changed meanwhile; PermissionDenied, ResourceExhausted, Unavailable: the system
// refuses to write. After an error `out` is as it was before.
absl::StatusOr<Manifest> Prepare(const PrepareOptions& options, const ProgressSink& progress);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_PREPARE_H_
