#ifndef FILIGREE_COORDINATOR_JOURNAL_RECORDS_H_
#define FILIGREE_COORDINATOR_JOURNAL_RECORDS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/journal/database.h"
#include "coordinator/tables/rows.h"

// The core's rows as records of the file's tables, and back. A record is the values of one row in the order of its
// table's columns; what comes from the file is checked field by field.

namespace filigree::coordinator {

enum class Table : uint8_t { kState, kWorkers, kSpecs, kJobs, kCommits };
inline constexpr int kTables = 5;

struct Column {
  const char* name;
  bool text;  // else a whole number
};
struct Shape {
  const char* name;
  std::vector<Column> columns;  // without the digest, which comes last
  int keys;                     // the first columns are the key
};
const Shape& ShapeOf(Table table);

using Record = std::vector<Value>;

// Digest of one row: XXH3-64 over the table's name and every value with its type and length. It finds damage; it is no
// protection against forgery. The digest of the whole file is the sum of those of all its rows, modulo 2^64.
uint64_t DigestOf(Table table, const Record& record);

struct State {
  int64_t epoch = 0;
  uint64_t total = 0;  // digest of all rows of the other tables
};
struct SpecRow {  // apart from the job's row, which is written at every move
  std::string job;
  std::shared_ptr<const contract::JobSpec> spec;
};

Record RecordOf(const State& row);
Record RecordOf(const WorkerRow& row);
Record RecordOf(const SpecRow& row);
Record RecordOf(const JobRow& row);  // without the spec
Record RecordOf(const CommitRow& row);

// DataLoss: a field is out of its range. Records have the types of their table.
absl::StatusOr<State> StateOf(const Record& record);
absl::StatusOr<WorkerRow> WorkerOf(const Record& record);
absl::StatusOr<SpecRow> SpecOf(const Record& record);
absl::StatusOr<JobRow> JobOf(const Record& record);
absl::StatusOr<CommitRow> CommitOf(const Record& record);

// Whether every field is in its range: what is written was checked so, or it could not be read again.
absl::Status CheckFields(int64_t epoch);
absl::Status CheckFields(const WorkerRow& row);
absl::Status CheckFields(const JobRow& row);  // with its spec, where it has one
absl::Status CheckFields(const CommitRow& row);

// Ranks in order as text, equal neighbours as one: "a/3 x8, b/1" are eight ranks on incarnation 3 of worker a and one
// on b. DataLoss: other text, or more than contract::kMaxRanks.
std::string TextOfRanks(const std::vector<RankPlace>& ranks);
absl::StatusOr<std::vector<RankPlace>> RanksOf(const std::string& text);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_RECORDS_H_
