#ifndef FILIGREE_WORKER_DATA_ENCODE_DOCUMENTS_H_
#define FILIGREE_WORKER_DATA_ENCODE_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/data/documents.h"
#include "worker/data/manifest.h"
#include "worker/data/progress.h"
#include "worker/data/tokenizer.h"

namespace filigree::data {

struct EncodeJob {
  std::string split;                       // as documents.jsonl calls it
  std::vector<const Document*> documents;  // in the order of the stream
  std::string dir;                         // of the shards
  std::string shard_name;                  // SHARD_NAME_000000.bin, ...
  int64_t shard_tokens;
};

// Encodes documents one behind the other, end of text after each, into shards, and appends their lines of
// documents.jsonl to `lines`. In parallel within a batch, written in order: the result does not depend on threads.
//
// DataLoss: a document is not what was scanned; PermissionDenied, ResourceExhausted, Unavailable: a shard cannot be
// written.
absl::StatusOr<Split> EncodeDocuments(const EncodeJob& job, const Tokenizer& tokenizer, kernels::ThreadPool& pool,
                                      const ProgressSink& sink, std::string& lines);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_ENCODE_DOCUMENTS_H_
