#include "coordinator/journal/database.h"

#include <fmt/format.h>

namespace filigree::coordinator {
namespace {

// Another program that holds the file (a backup, a person with a shell) is waited for this long; leases are longer.
constexpr int kBusyMs = 1000;
// No row is longer than a job's specification, escaped at its worst.
constexpr int kMaxValueBytes = 32 << 20;

struct Meaning {
  absl::StatusCode code;
  const char* next;
};

Meaning MeaningOf(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {absl::StatusCode::kResourceExhausted, "free space on that file system; nothing was taken"};
    case SQLITE_NOMEM:
      return {absl::StatusCode::kResourceExhausted, "free memory; nothing was taken"};
    case SQLITE_IOERR:
    case SQLITE_PROTOCOL:
      return {absl::StatusCode::kUnavailable,
              "look at the disk and the kernel's log (WAL files need a local file system); nothing was taken"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {absl::StatusCode::kUnavailable, "another program has the file locked; end it"};
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return {absl::StatusCode::kPermissionDenied, "the file and its folder must be writable by this user"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_ERROR:  // of our fixed statements: the file's schema is not ours
      return {absl::StatusCode::kDataLoss, "restore the last copy of the journal"};
    default:
      return {absl::StatusCode::kInternal, "please report this"};
  }
}

}  // namespace

absl::Status Database::Error(int code) const {
  const Meaning meaning = MeaningOf(code);
  const char* text = database_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database_.get());
  return absl::Status(meaning.code, fmt::format("journal {}: {} (SQLite {}); {}", path_, text, code, meaning.next));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, const char* vfs) {
  std::unique_ptr<Database> database(new Database(path));
  sqlite3* opened = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &opened, flags, vfs);
  database->database_.reset(opened);
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_busy_timeout(opened, kBusyMs);
  sqlite3_limit(opened, SQLITE_LIMIT_LENGTH, kMaxValueBytes);
  sqlite3_limit(opened, SQLITE_LIMIT_ATTACHED, 0);
  // The file may be anybody's: nothing in its schema is run.
  sqlite3_db_config(opened, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(opened, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  return database;
}

absl::StatusOr<Statement> Database::Prepare(const std::string& sql) const {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), sql.c_str(), static_cast<int>(sql.size()) + 1,
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Error(code);
  return Statement(this, statement);
}

absl::Status Database::Run(const std::string& sql) const {
  auto statement = Prepare(sql);
  if (!statement.ok()) return statement.status();
  for (;;) {
    const auto row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
  }
}

absl::StatusOr<int64_t> Database::Number(const std::string& sql) const {
  auto statement = Prepare(sql);
  if (!statement.ok()) return statement.status();
  const auto row = statement->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::DataLossError(fmt::format("journal {}: nothing answers \"{}\"", path_, sql));
  return statement->Integer(0);
}

absl::Status Statement::Bind(int place, const Value& value) {
  sqlite3_stmt* statement = statement_.get();
  int code = SQLITE_OK;
  if (const auto* text = std::get_if<std::string>(&value))
    code = sqlite3_bind_text64(statement, place, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  else
    code = sqlite3_bind_int64(statement, place, std::get<int64_t>(value));
  return code == SQLITE_OK ? absl::OkStatus() : database_->Error(code);
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  absl::Status error = code == SQLITE_DONE ? absl::OkStatus() : database_->Error(code);
  Reset();
  if (!error.ok()) return error;
  return false;
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

absl::StatusOr<int64_t> Statement::Integer(int column) const {
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER)
    return sqlite3_column_int64(statement_.get(), column);
  return absl::DataLossError(
      fmt::format("column {} is no whole number", sqlite3_column_name(statement_.get(), column)));
}

absl::StatusOr<std::string> Statement::Text(int column) const {
  if (sqlite3_column_type(statement_.get(), column) != SQLITE_TEXT)
    return absl::DataLossError(fmt::format("column {} is no text", sqlite3_column_name(statement_.get(), column)));
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return database_->Error(SQLITE_NOMEM);
  return std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

}  // namespace filigree::coordinator
