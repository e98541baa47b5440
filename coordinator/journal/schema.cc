#include "coordinator/journal/schema.h"

#include <fmt/format.h>

#include <string>
#include <vector>

namespace filigree::coordinator {
namespace {

using Statements = std::vector<std::string>;

// From version i to i + 1. What has been released is never edited: a new version is a new entry.
const std::vector<Statements>& Migrations() {
  static const std::vector<Statements> kMigrations = {
      {
          "CREATE TABLE state (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, total INTEGER NOT NULL, "
          "row_digest INTEGER NOT NULL) STRICT",
          "CREATE TABLE workers (name TEXT PRIMARY KEY, host TEXT NOT NULL, slots INTEGER NOT NULL, "
          "incarnation INTEGER NOT NULL, nonce TEXT NOT NULL, presence TEXT NOT NULL, draining INTEGER NOT NULL, "
          "row_digest INTEGER NOT NULL) STRICT, WITHOUT ROWID",
          // With row ids: rows of a few kilobytes then share pages.
          "CREATE TABLE specs (job TEXT NOT NULL PRIMARY KEY, spec TEXT NOT NULL, row_digest INTEGER NOT NULL) STRICT",
          "CREATE TABLE jobs (id TEXT PRIMARY KEY, number INTEGER NOT NULL, state TEXT NOT NULL, "
          "intent TEXT NOT NULL, reason TEXT NOT NULL, generation INTEGER NOT NULL, data INTEGER NOT NULL, "
          "ranks TEXT NOT NULL, held INTEGER NOT NULL, ran INTEGER NOT NULL, rollback INTEGER NOT NULL, "
          "resume_generation INTEGER NOT NULL, resume_step INTEGER NOT NULL, resume_digest TEXT NOT NULL, "
          "restarts INTEGER NOT NULL, fruitless INTEGER NOT NULL, reached_step INTEGER NOT NULL, "
          "submitted_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, "
          "row_digest INTEGER NOT NULL) STRICT, WITHOUT ROWID",
          "CREATE TABLE commits (job TEXT NOT NULL, step INTEGER NOT NULL, generation INTEGER NOT NULL, "
          "digest TEXT NOT NULL, wall_us INTEGER NOT NULL, row_digest INTEGER NOT NULL, PRIMARY KEY (job, step)) "
          "STRICT, WITHOUT ROWID",
      },
  };
  return kMigrations;
}

absl::Status Migrate(const Database& database, int64_t from) {
  if (absl::Status status = database.Run("BEGIN IMMEDIATE"); !status.ok()) return status;
  const std::vector<Statements>& migrations = Migrations();
  for (auto version = static_cast<size_t>(from); version < migrations.size(); ++version)
    for (const std::string& sql : migrations[version])
      if (absl::Status status = database.Run(sql); !status.ok()) return status;
  for (const std::string& sql : {fmt::format("PRAGMA application_id = {}", kApplicationId),
                                 fmt::format("PRAGMA user_version = {}", migrations.size()), std::string("COMMIT")})
    if (absl::Status status = database.Run(sql); !status.ok()) return status;
  return absl::OkStatus();
}

// Every object of the schema as SQLite wrote it down.
absl::StatusOr<std::string> SchemaText(const Database& database) {
  auto rows =
      database.Prepare("SELECT type || ' ' || name || ': ' || ifnull(sql, '') FROM sqlite_schema ORDER BY name");
  if (!rows.ok()) return rows.status();
  std::string text;
  for (;;) {
    const auto row = rows->Step();
    if (!row.ok()) return row.status();
    if (!*row) return text;
    auto line = rows->Text(0);
    if (!line.ok()) return line.status();
    text += *line + "\n";
  }
}

absl::StatusOr<std::string> OurSchema() {
  auto database = Database::Open(":memory:", nullptr);
  if (!database.ok()) return database.status();
  if (absl::Status status = Migrate(**database, 0); !status.ok()) return status;
  return SchemaText(**database);
}

absl::Status NoJournal(const Database& database, const std::string& why) {
  return absl::DataLossError(
      fmt::format("{} is no journal: {}; nothing was changed in it; give another path", database.path(), why));
}

// The version of the schema, once it is clear that this version may be read.
absl::StatusOr<int64_t> VersionOf(const Database& database) {
  const auto id = database.Number("PRAGMA application_id");
  if (!id.ok()) return id.status();
  const auto version = database.Number("PRAGMA user_version");
  if (!version.ok()) return version.status();
  const auto objects = database.Number("SELECT count(*) FROM sqlite_schema");
  if (!objects.ok()) return objects.status();
  if (*id == 0 && *version == 0 && *objects == 0) return 0;
  if (*id != kApplicationId)
    return NoJournal(database, fmt::format("it is another program's database (application_id {})", *id));
  if (*version > kSchemaVersion)
    return absl::FailedPreconditionError(
        fmt::format("journal {} has version {} of the schema, this program knows up to {}; use the newer program that "
                    "wrote it, or restore a copy made before the upgrade; nothing was changed in it",
                    database.path(), *version, kSchemaVersion));
  if (*version < 1) return NoJournal(database, fmt::format("there is no version {} of the schema", *version));
  return *version;
}

}  // namespace

absl::Status BringUpToDate(const Database& database) {
  const auto version = VersionOf(database);
  if (!version.ok()) return version.status();
  if (*version < kSchemaVersion)
    if (absl::Status status = Migrate(database, *version); !status.ok()) return status;
  const auto schema = SchemaText(database);
  if (!schema.ok()) return schema.status();
  const auto ours = OurSchema();
  if (!ours.ok()) return ours.status();
  if (*schema != *ours) return NoJournal(database, "its tables are not those of its version");
  return absl::OkStatus();
}

}  // namespace filigree::coordinator
