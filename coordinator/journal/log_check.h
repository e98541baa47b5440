#ifndef FILIGREE_COORDINATOR_JOURNAL_LOG_CHECK_H_
#define FILIGREE_COORDINATOR_JOURNAL_LOG_CHECK_H_

#include <string>

#include "absl/status/status.h"

namespace filigree::coordinator {

// Looks at a write-ahead log before SQLite does. SQLite takes the log up to the first frame whose checksum is wrong for
// where writing was cut off, and forgets the rest without a word: right after a crash, which leaves at most the one
// transaction behind it that was not acknowledged, and wrong where a bit flipped in the middle.
//
//     header  magic, version, page size, count, salt 1, salt 2, checksum (2 words), each a big-endian word
//     frame   page number, pages of the file after a commit (else 0), salt 1, salt 2, checksum (2 words); the page
//
// Checksums run on from frame to frame, so a frame that continues another was written after it. DataLoss: behind a
// frame with a wrong checksum one ends a transaction and another continues it, or frames stand behind a wrong header.
// What it cannot see is damage to the last transaction: that looks as if it had never been finished.
//
// A log that is not there or empty is fine. Other errors: those of reading the file.
absl::Status CheckLog(const std::string& log_path);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_LOG_CHECK_H_
