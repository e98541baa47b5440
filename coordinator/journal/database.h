#ifndef FILIGREE_COORDINATOR_JOURNAL_DATABASE_H_
#define FILIGREE_COORDINATOR_JOURNAL_DATABASE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// SQLite as this room uses it: what closes itself, and its errors as Status, with the file and what to do next.

namespace filigree::coordinator {

using Value = std::variant<int64_t, std::string>;

struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};

class Database;

// A prepared statement; the database must outlive it.
class Statement {
 public:
  absl::Status Bind(int place, const Value& value);  // from 1
  // True: a row can be read. False: done, and ready to be bound and run again.
  absl::StatusOr<bool> Step();
  void Reset();

  // Of the row: from 0. DataLoss: NULL or a type that was not asked for.
  absl::StatusOr<int64_t> Integer(int column) const;
  absl::StatusOr<std::string> Text(int column) const;

 private:
  friend class Database;
  Statement(const Database* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}

  const Database* database_;
  std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement_;
};

class Database {
 public:
  // `path` must exist, or be ":memory:". Nothing of the file is read yet.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, const char* vfs);

  absl::StatusOr<Statement> Prepare(const std::string& sql) const;
  absl::Status Run(const std::string& sql) const;                // one statement, whose rows are not read
  absl::StatusOr<int64_t> Number(const std::string& sql) const;  // the first column of its first row
  bool InTransaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }

  // The last call's error.
  absl::Status Error(int code) const;
  const std::string& path() const { return path_; }

 private:
  explicit Database(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_DATABASE_H_
