#include "coordinator/journal/sheets.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "kernels/base/check.h"

namespace filigree::coordinator {
namespace {

std::string NamesOf(const Shape& shape, size_t count) {
  std::string names;
  for (size_t i = 0; i < count; ++i) names += (i == 0 ? "" : ", ") + std::string(shape.columns[i].name);
  return names;
}

std::string FindSql(const Shape& shape) {
  std::string condition;
  for (int i = 0; i < shape.keys; ++i)
    condition += fmt::format("{}{} = ?{}", i == 0 ? "" : " AND ", shape.columns[i].name, i + 1);
  return fmt::format("SELECT row_digest FROM {} WHERE {}", shape.name, condition);
}

std::string PutSql(const Shape& shape) {
  std::string places = "?";
  for (size_t i = 0; i < shape.columns.size(); ++i) places += ", ?";
  return fmt::format("INSERT OR REPLACE INTO {} ({}, row_digest) VALUES ({})", shape.name,
                     NamesOf(shape, shape.columns.size()), places);
}

// Appends the value of the record's next column.
absl::Status TakeValue(const Statement& row, bool text, Record& record) {
  const auto column = static_cast<int>(record.size());
  if (text) {
    auto value = row.Text(column);
    if (!value.ok()) return value.status();
    record.emplace_back(*std::move(value));
  } else {
    const auto value = row.Integer(column);
    if (!value.ok()) return value.status();
    record.emplace_back(*value);
  }
  return absl::OkStatus();
}

// The row as a record; DataLoss where its digest is another.
absl::StatusOr<std::pair<Record, uint64_t>> RecordAt(Table table, const Statement& row) {
  const Shape& shape = ShapeOf(table);
  Record record;
  record.reserve(shape.columns.size());
  for (const Column& column : shape.columns)
    if (absl::Status status = TakeValue(row, column.text, record); !status.ok()) return status;
  const auto stored = row.Integer(static_cast<int>(record.size()));
  if (!stored.ok()) return stored.status();
  const uint64_t digest = DigestOf(table, record);
  if (static_cast<uint64_t>(*stored) != digest) return absl::DataLossError("its digest is another");
  return std::make_pair(std::move(record), digest);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sheets>> Sheets::Of(const Database& database) {
  std::unique_ptr<Sheets> sheets(new Sheets(database));
  for (int i = 0; i < kTables; ++i) {
    const Shape& shape = ShapeOf(static_cast<Table>(i));
    auto find = database.Prepare(FindSql(shape));
    if (!find.ok()) return find.status();
    auto put = database.Prepare(PutSql(shape));
    if (!put.ok()) return put.status();
    auto find_all = database.Prepare(
        fmt::format("SELECT row_digest FROM {} WHERE {} = ?1", shape.name, shape.columns.front().name));
    if (!find_all.ok()) return find_all.status();
    auto remove = database.Prepare(fmt::format("DELETE FROM {} WHERE {} = ?1", shape.name, shape.columns.front().name));
    if (!remove.ok()) return remove.status();
    sheets->statements_[i].emplace(
        Statements{*std::move(find), *std::move(put), *std::move(find_all), *std::move(remove)});
  }
  return sheets;
}

absl::StatusOr<uint64_t> Sheets::Read(Table table, absl::FunctionRef<absl::Status(const Record&)> take) const {
  const Shape& shape = ShapeOf(table);
  auto rows =
      database_.Prepare(fmt::format("SELECT {}, row_digest FROM {} ORDER BY {}", NamesOf(shape, shape.columns.size()),
                                    shape.name, NamesOf(shape, static_cast<size_t>(shape.keys))));
  if (!rows.ok()) return rows.status();
  uint64_t total = 0;
  for (int64_t number = 1;; ++number) {
    const auto row = rows->Step();
    if (!row.ok()) return row.status();
    if (!*row) return total;
    const auto wrong = [&](const absl::Status& status) {
      return absl::Status(status.code(),
                          fmt::format("row {} of table {}: {}", number, shape.name, std::string(status.message())));
    };
    const auto record = RecordAt(table, *rows);
    if (!record.ok()) return wrong(record.status());
    if (absl::Status status = take(record->first); !status.ok()) return wrong(status);
    total += record->second;
  }
}

absl::Status Sheets::Put(Table table, const Record& record, uint64_t& total) {
  Statement& find = statements_[static_cast<size_t>(table)]->find;
  Statement& put = statements_[static_cast<size_t>(table)]->put;
  const Shape& shape = ShapeOf(table);
  CHECK(record.size() == shape.columns.size(), "{} values for table {}", record.size(), shape.name);
  for (int i = 0; i < shape.keys; ++i)
    if (absl::Status status = find.Bind(i + 1, record[i]); !status.ok()) return status;
  const auto found = find.Step();
  if (!found.ok()) return found.status();
  if (*found) {
    const auto before = find.Integer(0);
    if (!before.ok()) return before.status();
    total -= static_cast<uint64_t>(*before);
  }
  find.Reset();
  const uint64_t digest = DigestOf(table, record);
  for (size_t i = 0; i < record.size(); ++i)
    if (absl::Status status = put.Bind(static_cast<int>(i) + 1, record[i]); !status.ok()) return status;
  if (absl::Status status = put.Bind(static_cast<int>(record.size()) + 1, static_cast<int64_t>(digest)); !status.ok())
    return status;
  const auto done = put.Step();
  if (!done.ok()) return done.status();
  total += digest;
  return absl::OkStatus();
}

absl::Status Sheets::Remove(Table table, const std::string& key, uint64_t& total) {
  Statement& find = statements_[static_cast<size_t>(table)]->find_all;
  Statement& remove = statements_[static_cast<size_t>(table)]->remove;
  if (absl::Status status = find.Bind(1, key); !status.ok()) return status;
  for (;;) {
    const auto found = find.Step();
    if (!found.ok()) return found.status();
    if (!*found) break;
    const auto digest = find.Integer(0);
    if (!digest.ok()) return digest.status();
    total -= static_cast<uint64_t>(*digest);
  }
  if (absl::Status status = remove.Bind(1, key); !status.ok()) return status;
  return remove.Step().status();
}

}  // namespace filigree::coordinator
