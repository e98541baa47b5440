#ifndef FILIGREE_COORDINATOR_JOURNAL_SHEETS_H_
#define FILIGREE_COORDINATOR_JOURNAL_SHEETS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/database.h"
#include "coordinator/journal/records.h"

// Records in and out of the tables, each with its digest. The database must outlive it.

namespace filigree::coordinator {

class Sheets {
 public:
  static absl::StatusOr<std::unique_ptr<Sheets>> Of(const Database& database);

  // Hands every record over in the order of its key, until `take` fails. DataLoss: a value of the wrong type, or a row
  // whose digest is another. Returns the digest of the table: the sum of its rows'.
  absl::StatusOr<uint64_t> Read(Table table, absl::FunctionRef<absl::Status(const Record&)> take) const;

  // Replaces the record with that key; `total` is the digest of all rows and follows.
  absl::Status Put(Table table, const Record& record, uint64_t& total);

  // Removes all records whose key begins with `key`.
  absl::Status Remove(Table table, const std::string& key, uint64_t& total);

 private:
  struct Statements {
    Statement find, put, find_all, remove;
  };
  explicit Sheets(const Database& database) : database_(database) {}

  const Database& database_;
  std::array<std::optional<Statements>, kTables> statements_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_SHEETS_H_
