#ifndef FILIGREE_WORKER_DATA_DOCUMENTS_H_
#define FILIGREE_WORKER_DATA_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/data/find_files.h"
#include "worker/data/manifest.h"
#include "worker/data/progress.h"

namespace filigree::data {

// One text of the corpus: a file, whole and unchanged.
struct Document {
  std::string path;
  int64_t bytes = 0;
  std::string sha256;
  bool validation = false;
};

struct Documents {
  std::vector<Document> all;  // in the order they were found
  Dropped dropped;
  std::string dropped_lines;  // every file that was left out, a line each: "REASON: PATH: DETAIL"
};

// Reads every file once and leaves out, in this order: too large (above `max_file_bytes`, not read at all), unreadable,
// empty, binary (has a zero byte), not UTF-8, duplicate (the bytes of an earlier document). Examples name file and
// reason.
Documents ScanFiles(const FoundFiles& found, int64_t max_file_bytes, kernels::ThreadPool& pool,
                    const ProgressSink& sink);

// Whole documents go to validation by their content: those whose hash, drawn with `seed`, falls below `val_fraction` of
// the range. So a document stays on its side when others come or go. Both sides get at least one of two or more
// documents.
void SplitOffValidation(std::vector<Document>& documents, double val_fraction, int64_t seed);

// The bytes of a document; DataLoss where they are not those that were scanned.
absl::StatusOr<std::string> ReadDocument(const Document& document);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_DOCUMENTS_H_
