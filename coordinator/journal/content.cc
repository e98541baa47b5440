#include "coordinator/journal/content.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>

#include "coordinator/journal/records.h"

namespace filigree::coordinator {
namespace {

using Specs = std::map<std::string, std::shared_ptr<const contract::JobSpec>>;

// Reads tables one after the other; the digests add up.
class Reader {
 public:
  explicit Reader(const Sheets& sheets) : sheets_(sheets) {}

  template <typename Row, typename Take>
  absl::Status Each(Table table, absl::StatusOr<Row> (*row_of)(const Record&), Take take) {
    const auto digest = sheets_.Read(table, [&](const Record& record) -> absl::Status {
      auto row = row_of(record);
      if (!row.ok()) return row.status();
      return take(*std::move(row));
    });
    if (!digest.ok()) return digest.status();
    if (table != Table::kState) total_ += *digest;
    return absl::OkStatus();
  }

  uint64_t total() const { return total_; }

 private:
  const Sheets& sheets_;
  uint64_t total_ = 0;
};

absl::Status ReadJobs(Reader& reader, Changes& rows) {
  Specs specs;
  absl::Status status = reader.Each<SpecRow>(Table::kSpecs, SpecOf, [&](SpecRow row) {
    specs[row.job] = std::move(row.spec);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  status = reader.Each<JobRow>(Table::kJobs, JobOf, [&](JobRow row) -> absl::Status {
    const auto spec = specs.find(row.id);
    if (spec == specs.end()) return absl::DataLossError(fmt::format("job {} has no spec", row.id));
    row.spec = std::move(spec->second);
    specs.erase(spec);
    rows.jobs.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (!specs.empty()) return absl::DataLossError(fmt::format("spec of the unknown job {}", specs.begin()->first));
  return absl::OkStatus();
}

// Commits come by job and step; the core needs the last one of each, the generations must ascend with the steps.
absl::Status ReadCommits(Reader& reader, Changes& rows) {
  return reader.Each<CommitRow>(Table::kCommits, CommitOf, [&](CommitRow row) -> absl::Status {
    if (rows.commits.empty() || rows.commits.back().job != row.job) {
      rows.commits.push_back(std::move(row));
      return absl::OkStatus();
    }
    CommitRow& last = rows.commits.back();
    if (row.point.generation < last.point.generation)
      return absl::DataLossError(fmt::format("job {}: step {} is of generation {}, after one of generation {}", row.job,
                                             row.point.step, row.point.generation, last.point.generation));
    last = std::move(row);
    return absl::OkStatus();
  });
}

absl::Status ReadAll(Reader& reader, State& state, Changes& rows) {
  int64_t states = 0;
  absl::Status status = reader.Each<State>(Table::kState, StateOf, [&](State row) {
    state = row;
    ++states;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  status = reader.Each<WorkerRow>(Table::kWorkers, WorkerOf, [&](WorkerRow row) {
    rows.workers.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (status = ReadJobs(reader, rows); !status.ok()) return status;
  if (status = ReadCommits(reader, rows); !status.ok()) return status;
  if (states == 0 && !rows.empty()) return absl::DataLossError("table state is empty and others are not");
  if (state.total != reader.total()) return absl::DataLossError("rows are missing: the digest of all rows is another");
  return absl::OkStatus();
}

template <typename Rows>
absl::Status FirstWrong(const char* what, const Rows& rows) {
  for (const auto& row : rows)
    if (absl::Status status = CheckFields(row); !status.ok())
      return absl::InternalError(fmt::format("a {} that could not be read again is not written: {}; please report this",
                                             what, std::string(status.message())));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Content> ReadContent(const Sheets& sheets) {
  State state;
  Changes rows;
  Reader reader(sheets);
  if (absl::Status status = ReadAll(reader, state, rows); !status.ok()) return status;
  rows.epoch = state.epoch;
  Content content;
  content.total = state.total;
  content.tables.Apply(rows);
  if (absl::Status status = content.tables.Check(); !status.ok()) return status;
  return content;
}

absl::Status CheckWritable(const Changes& changes) {
  if (changes.epoch)
    if (absl::Status status = FirstWrong("epoch", std::initializer_list<int64_t>{*changes.epoch}); !status.ok())
      return status;
  if (absl::Status status = FirstWrong("worker", changes.workers); !status.ok()) return status;
  if (absl::Status status = FirstWrong("job", changes.jobs); !status.ok()) return status;
  for (const JobRow& row : changes.jobs)
    if (row.spec == nullptr) return absl::InternalError(fmt::format("job {} without a spec is not written", row.id));
  return FirstWrong("commit", changes.commits);
}

absl::Status PutChanges(Sheets& sheets, const Changes& changes, const Content& content, uint64_t& total) {
  total = content.total;
  for (const WorkerRow& row : changes.workers)
    if (absl::Status status = sheets.Put(Table::kWorkers, RecordOf(row), total); !status.ok()) return status;
  for (const JobRow& row : changes.jobs) {
    const JobRow* stands = content.tables.FindJob(row.id);
    const bool same_spec = stands != nullptr && (stands->spec == row.spec || *stands->spec == *row.spec);
    if (!same_spec)
      if (absl::Status status = sheets.Put(Table::kSpecs, RecordOf(SpecRow{row.id, row.spec}), total); !status.ok())
        return status;
    if (absl::Status status = sheets.Put(Table::kJobs, RecordOf(row), total); !status.ok()) return status;
  }
  for (const CommitRow& row : changes.commits)
    if (absl::Status status = sheets.Put(Table::kCommits, RecordOf(row), total); !status.ok()) return status;
  for (const std::string& job : changes.forgotten)
    for (const Table table : {Table::kJobs, Table::kSpecs, Table::kCommits})
      if (absl::Status status = sheets.Remove(table, job, total); !status.ok()) return status;
  const State state = {changes.epoch.value_or(content.tables.epoch()), total};
  uint64_t ignored = 0;
  return sheets.Put(Table::kState, RecordOf(state), ignored);
}

}  // namespace filigree::coordinator
