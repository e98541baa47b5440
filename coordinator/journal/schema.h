#ifndef FILIGREE_COORDINATOR_JOURNAL_SCHEMA_H_
#define FILIGREE_COORDINATOR_JOURNAL_SCHEMA_H_

#include <cstdint>

#include "absl/status/status.h"
#include "coordinator/journal/database.h"

// The tables of the file and their versions. PRAGMA application_id says that a file is a journal, user_version which
// version of the schema it has.

namespace filigree::coordinator {

inline constexpr int64_t kApplicationId = 0x46494c47;  // "FILG"
inline constexpr int64_t kSchemaVersion = 1;

// Brings the schema to kSchemaVersion, in one transaction; an empty file is version 0. Then the schema is compared with
// ours: a file with other tables, or with triggers and views, is none of ours.
// FailedPrecondition: a newer version. DataLoss: no journal.
absl::Status BringUpToDate(const Database& database);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_SCHEMA_H_
