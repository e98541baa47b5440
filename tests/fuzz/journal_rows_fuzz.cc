#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "coordinator/core/core.h"
#include "coordinator/journal/records.h"
#include "kernels/base/check.h"
#include "proto/contract/ids.h"
#include "tests/fuzz/fuzz_target.h"

// Rows of a journal behind its digests, as somebody could write them who knows how digests are made: what is taken as
// sound must be sound for a core, whatever it is asked then.
//
// Input that begins with an even byte: records, each a byte for the table and its values, a text as two bytes of length
// and its bytes, a number as eight bytes. With an odd one: choices, from which rows are made that are sound more often.

namespace filigree::fuzz {
namespace {

using namespace coordinator;  // NOLINT: everything here is about its types

std::string Bytes(uint64_t value, size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(value >> 8 * i);
  return bytes;
}

std::string Packed(Table table, const Record& record) {
  std::string bytes = Bytes(static_cast<uint64_t>(table), 1);
  for (const Value& value : record)
    if (const auto* text = std::get_if<std::string>(&value))
      bytes += Bytes(text->size(), 2) + *text;
    else
      bytes += Bytes(static_cast<uint64_t>(std::get<int64_t>(value)), 8);
  return bytes;
}

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  bool more() const { return !bytes_.empty(); }

  // Missing bytes are zeros.
  uint64_t Number(size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < std::min(count, bytes_.size()); ++i)
      value |= uint64_t{static_cast<unsigned char>(bytes_[i])} << 8 * i;
    bytes_.remove_prefix(std::min(count, bytes_.size()));
    return value;
  }

  std::string Text() {
    const std::string text(bytes_.substr(0, Number(2)));
    const std::string taken(bytes_.substr(0, text.size()));
    bytes_.remove_prefix(std::min(text.size(), bytes_.size()));
    return taken;
  }

  Record Values(Table table) {
    Record record;
    for (const Column& column : ShapeOf(table).columns)
      if (column.text)
        record.emplace_back(Text());
      else
        record.emplace_back(static_cast<int64_t>(Number(8)));
    return record;
  }

 private:
  std::string_view bytes_;
};

// Rows as the bytes choose them: a few workers, jobs in any state on them, commits.
class Maker {
 public:
  explicit Maker(std::string_view bytes) : bytes_(bytes) {}

  std::string Records() {
    std::string records = Packed(Table::kState, RecordOf(State{Below(3), 0}));
    const int64_t workers = 1 + Below(3), jobs = 1 + Below(4);
    for (int64_t i = 0; i < workers; ++i) records += Packed(Table::kWorkers, RecordOf(Worker(i)));
    for (int64_t i = 1; i <= jobs; ++i) records += Job(i);
    return records;
  }

 private:
  int64_t Below(uint64_t n) { return static_cast<int64_t>(bytes_.Number(1) % n); }
  bool Rarely() { return Below(16) == 15; }

  WorkerRow Worker(int64_t i) {
    WorkerRow row;
    row.name = std::string(1, static_cast<char>('a' + i));
    row.host = std::string(1, static_cast<char>('a' + Below(2)));
    row.slots = static_cast<int32_t>(1 + Below(6));
    row.incarnation = 1 + Below(3);
    row.nonce = "n";
    row.presence = static_cast<Presence>(Below(3));
    row.draining = Below(4) == 0;
    workers_.push_back(row);
    return row;
  }

  contract::JobSpec Spec() {
    contract::JobSpec spec;
    spec.name = "job";
    spec.data = static_cast<int32_t>(1 + Below(3));
    spec.tensor = static_cast<int32_t>(1 + Below(2));
    spec.min_data = static_cast<int32_t>(1 + Below(static_cast<uint64_t>(spec.data)));
    spec.restart_limit = static_cast<int32_t>(Below(3));
    spec.deadlines = {Below(2) * 50, Below(2) * 50, Below(2) * 50};
    spec.backend = static_cast<contract::Backend>(Below(4));
    if (Rarely()) spec.idempotency_key = "key";
    return spec;
  }

  std::string Job(int64_t number) {
    JobRow row;
    const contract::JobSpec spec = Spec();
    row.spec = std::make_shared<const contract::JobSpec>(spec);
    row.number = number;
    row.id = contract::JobId(spec.name, number);
    row.state = static_cast<JobState>(Below(kJobStates));
    if (row.state == JobState::kDraining || Rarely()) row.intent = static_cast<Intent>(1 + Below(kIntents - 1));
    const bool active =
        row.state == JobState::kPlaced || row.state == JobState::kRunning || row.state == JobState::kDraining;
    row.held = Rarely() ? Below(2) == 0 : active || (row.state == JobState::kRecovering && Below(2) == 0);
    row.generation = (active || row.held) && !Rarely() ? 1 + Below(3) : Below(3);
    if (row.generation > 0 || Rarely()) row.data = spec.min_data + static_cast<int32_t>(Below(2));
    for (int32_t rank = 0; rank < row.data * spec.tensor; ++rank) row.ranks.push_back(Place());
    row.ran = Below(2) == 0;
    row.rollback = Below(4) == 0;
    row.restarts = static_cast<int32_t>(Below(5));
    row.fruitless = static_cast<int32_t>(Below(5));
    row.reached_step = Below(100);
    std::string records;
    const CommitRow commit = {
        row.id, {std::max<int64_t>(row.generation - Below(2), 1), Below(100), "0123456789abcdef"}, 0};
    if (row.generation > 0 && Below(2) == 0) {
      records += Packed(Table::kCommits, RecordOf(commit));
      if (Below(2) == 0) row.resume = commit.point;
    }
    return records + Packed(Table::kSpecs, RecordOf(SpecRow{row.id, row.spec})) + Packed(Table::kJobs, RecordOf(row));
  }

  RankPlace Place() {
    const WorkerRow& worker = workers_[static_cast<size_t>(Below(workers_.size()))];
    return {worker.name, Below(4) == 0 ? 1 + Below(3) : worker.incarnation};
  }

  Unpacker bytes_;
  std::vector<WorkerRow> workers_;
};

// A row that was read is written as the record it came from.
template <typename Row>
std::optional<Row> Taken(Table table, const Record& record, absl::StatusOr<Row> (*row_of)(const Record&)) {
  auto row = row_of(record);
  if (!row.ok()) return std::nullopt;
  if (table != Table::kSpecs) CHECK(RecordOf(*row) == record, "a row of {} changes on its way", ShapeOf(table).name);
  return *std::move(row);
}

// All rows of the input, as tables; nothing where one of them is refused.
std::optional<Tables> TablesOf(std::string_view input) {
  Changes rows;
  rows.epoch = 0;
  std::map<std::string, std::shared_ptr<const contract::JobSpec>> specs;
  for (Unpacker unpacker(input); unpacker.more();) {
    const auto table = static_cast<Table>(unpacker.Number(1) % kTables);
    const Record record = unpacker.Values(table);
    bool taken = true;
    const auto keep = [&](auto row, auto to) { taken = row.has_value() && (to(*std::move(row)), true); };
    if (table == Table::kState) keep(Taken(table, record, StateOf), [&](const State& row) { rows.epoch = row.epoch; });
    if (table == Table::kWorkers)
      keep(Taken(table, record, WorkerOf), [&](const WorkerRow& row) { rows.workers.push_back(row); });
    if (table == Table::kSpecs)
      keep(Taken(table, record, SpecOf), [&](const SpecRow& row) { specs[row.job] = row.spec; });
    if (table == Table::kJobs) keep(Taken(table, record, JobOf), [&](const JobRow& row) { rows.jobs.push_back(row); });
    if (table == Table::kCommits)
      keep(Taken(table, record, CommitOf), [&](const CommitRow& row) { rows.commits.push_back(row); });
    if (!taken) return std::nullopt;
  }
  for (JobRow& row : rows.jobs) row.spec = specs[row.id];
  Tables tables;
  tables.Apply(rows);
  if (!tables.Check().ok()) return std::nullopt;
  return tables;
}

// Nobody counts that far; who writes such rows gets a journal that takes no more of them.
constexpr int64_t kManyCounts = int64_t{1} << 61;
constexpr int32_t kManyFaults = 1 << 29;
bool AtItsEnd(const JobRow& row) {
  return std::max(row.generation, row.number) > kManyCounts || std::max(row.restarts, row.fruitless) > kManyFaults;
}

// A core on these tables and everybody who may talk to it.
class Life {
 public:
  explicit Life(const Tables& tables) : core_(Options(), tables, now_) { Keep(core_.Start(now_)); }

  void Live() {
    const Tables before = core_.tables();
    RegisterRequest stranger;
    stranger.name = stranger.host = stranger.nonce = "stranger";
    stranger.slots = 3;
    Keep(core_.Register(now_, stranger));
    for (const auto& [name, row] : before.workers()) Speak(row);
    for (const auto& [id, row] : before.jobs()) Ask(row);
    Pass(1'000'000);
    for (const auto& [name, row] : before.workers()) Speak(row);
    for (const int64_t us : {3'000'000, 120'000'000, 200'000'000}) Pass(us);
    for (const auto& [id, row] : before.jobs()) Keep(core_.Cancel(now_, {id}));
    Pass(10'000'000);
  }

 private:
  template <typename Reply>
  void Keep(const Decision<Reply>& decision) {
    core_.Accept(decision.outcome);
    const absl::Status status = core_.tables().Check();
    CHECK(status.ok(), "sound tables became unsound: {}", std::string(status.message()));
    for (const JobRow& row : decision.outcome.rows.jobs)
      CHECK(AtItsEnd(row) || CheckFields(row).ok(), "job {} cannot be kept: {}", row.id,
            std::string(CheckFields(row).message()));
    for (const WorkerRow& row : decision.outcome.rows.workers)
      CHECK(row.incarnation > kManyCounts || CheckFields(row).ok(), "worker {} cannot be kept", row.name);
  }

  void Pass(int64_t us) {
    now_.monotonic_us += us;
    now_.wall_us += us;
    Keep(core_.Tick(now_));
  }

  // A heartbeat in which every rank that is placed there runs and reports a step and its masks.
  void Speak(const WorkerRow& row) {
    HeartbeatRequest request;
    request.speaker = {row.name, row.incarnation};
    request.epoch = core_.tables().epoch();
    request.sequence = ++sequence_;
    for (const std::string& id : core_.tables().JobsOn(row.name)) {
      const JobRow& job = *core_.tables().FindJob(id);
      for (size_t rank = 0; rank < job.ranks.size(); ++rank) {
        if (job.ranks[rank].worker != row.name || request.ranks.size() > 100) continue;
        RankReport report;
        report.job = id;
        report.generation = job.generation;
        report.rank = static_cast<int32_t>(rank);
        report.state = RankState::kRunning;
        report.progress.step = sequence_;
        report.mask_epoch = 1;
        report.mask_digests = {{"weights", "0123456789abcdef"}};
        request.ranks.push_back(report);
      }
    }
    Keep(core_.Heartbeat(now_, request));
  }

  void Ask(const JobRow& row) {
    CommitRequest commit;
    commit.job = row.id;
    commit.point = {row.generation, int64_t{1} << 40, "0123456789abcdef"};
    if (!row.ranks.empty()) commit.speaker = {row.ranks[0].worker, row.ranks[0].incarnation};
    Keep(core_.Commit(now_, commit));
    if (row.number % 2 == 0) Keep(core_.DrainJob(now_, {row.id}));
    Keep(core_.Submit(now_, {*row.spec}));
  }

  Now now_{1'000'000, 1'700'000'000'000'000};
  Core core_;
  int64_t sequence_ = 0;
};

}  // namespace

std::vector<std::string> Seeds() {
  WorkerRow worker;
  worker.name = worker.host = "a";
  worker.slots = 4;
  worker.incarnation = 3;
  worker.nonce = "n";
  contract::JobSpec spec;
  spec.name = "job";
  spec.data = 2;
  JobRow job;
  job.id = "job-1";
  job.number = 1;
  job.spec = std::make_shared<const contract::JobSpec>(spec);
  job.state = JobState::kRunning;
  job.reason = "all run";
  job.generation = 2;
  job.data = 2;
  job.ranks = {{"a", 3}, {"a", 3}};
  job.held = job.ran = true;
  const CommitRow commit = {"job-1", {1, 50, "0123456789abcdef"}, 7};
  job.resume = commit.point;
  const std::string common = Packed(Table::kState, RecordOf(State{5, 0})) + Packed(Table::kWorkers, RecordOf(worker)) +
                             Packed(Table::kSpecs, RecordOf(SpecRow{job.id, job.spec})) +
                             Packed(Table::kCommits, RecordOf(commit));
  std::vector<std::string> seeds;
  for (int state = 0; state < kJobStates; ++state)
    for (int intent = 0; intent < kIntents; ++intent) {
      job.state = static_cast<JobState>(state);
      job.intent = static_cast<Intent>(intent);
      if ((job.state == JobState::kDraining) != (intent > 0)) continue;
      job.held = !Ended(job.state) && job.state != JobState::kSubmitted && job.state != JobState::kQueued;
      const std::string records = common + Packed(Table::kJobs, RecordOf(job));
      CHECK(TablesOf(records).has_value(), "a seed in state {} is refused", Name(job.state));
      seeds.push_back(std::string(1, '\0') + records);
    }
  std::mt19937_64 dice(1);
  for (int i = 0; i < 64; ++i) {
    seeds.emplace_back(1, '\1');
    for (int byte = 0; byte < 150; ++byte) seeds.back() += static_cast<char>(dice());
  }
  return seeds;
}

void Try(std::string_view input) {
  if (input.empty()) return;
  const std::string_view rest = input.substr(1);
  const auto tables = TablesOf(input[0] % 2 == 0 ? std::string(rest) : Maker(rest).Records());
  if (tables) Life(*tables).Live();
}

}  // namespace filigree::fuzz
