#ifndef FILIGREE_COORDINATOR_JOURNAL_CONTENT_H_
#define FILIGREE_COORDINATOR_JOURNAL_CONTENT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/sheets.h"
#include "coordinator/tables/tables.h"

// All that is in a journal, as the core's tables.

namespace filigree::coordinator {

struct Content {
  Tables tables;
  uint64_t total = 0;  // digest of all rows but the state's
};

// DataLoss: rows that are damaged, missing, or that no core wrote.
absl::StatusOr<Content> ReadContent(const Sheets& sheets);

// Internal: a row that ReadContent would refuse.
absl::Status CheckWritable(const Changes& changes);

// Puts all rows, and the state. Specs are put where `content` has none or another one of that job. `total` becomes that
// of the file.
absl::Status PutChanges(Sheets& sheets, const Changes& changes, const Content& content, uint64_t& total);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_CONTENT_H_
