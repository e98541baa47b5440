#ifndef FILIGREE_COORDINATOR_JOURNAL_FILES_H_
#define FILIGREE_COORDINATOR_JOURNAL_FILES_H_

#include <string>

#include "absl/status/status.h"

namespace filigree::coordinator {

// What has to be seen to before SQLite opens `path`: a new file is made, readable by its owner only, and its name
// synced. DataLoss: files that SQLite would take for an older state without a word: a log without its file, a file that
// does not say that it has a log, a log that is damaged in the middle.
absl::Status PrepareFile(const std::string& path);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_FILES_H_
