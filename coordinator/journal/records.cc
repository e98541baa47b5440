#include "coordinator/journal/records.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <limits>
#include <string_view>

#include "kernels/base/check.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr const char* kPresences[] = {"live", "lost", "left"};

// Takes the values of a record in order; the first one that is out of its range is kept in `status`.
class Taker {
 public:
  explicit Taker(const Record& record) : record_(record) {}

  std::string Text() { return std::get<std::string>(record_[at_++]); }

  template <typename Int>
  Int Number(const char* field) {
    const int64_t number = std::get<int64_t>(record_[at_++]);
    if (number < std::numeric_limits<Int>::min() || number > std::numeric_limits<Int>::max()) {
      Fail(fmt::format("{}: {} does not fit", field, number));
      return 0;
    }
    return static_cast<Int>(number);
  }

  bool Flag(const char* field) {
    const int64_t number = std::get<int64_t>(record_[at_++]);
    if (number != 0 && number != 1) Fail(fmt::format("{}: {} is neither 0 nor 1", field, number));
    return number == 1;
  }

  void Fail(const std::string& text) { Keep(absl::DataLossError(text)); }
  void Keep(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }

  // The row, if nothing was wrong with it.
  template <typename Row>
  absl::StatusOr<Row> Done(Row row) {
    CHECK(at_ == record_.size(), "{} of {} values taken", at_, record_.size());
    if (!status_.ok()) return status_;
    return row;
  }

 private:
  const Record& record_;
  size_t at_ = 0;
  absl::Status status_;
};

// Of a job: none is three empty values.
std::optional<CommitPoint> TakePoint(Taker& take) {
  CommitPoint point;
  point.generation = take.Number<int64_t>("resume_generation");
  point.step = take.Number<int64_t>("resume_step");
  point.digest = take.Text();
  if (point == CommitPoint()) return std::nullopt;
  return point;
}

}  // namespace

const Shape& ShapeOf(Table table) {
  static const std::array<Shape, kTables> kShapes = {{
      {"state", {{"id", false}, {"epoch", false}, {"total", false}}, 1},
      {"workers",
       {{"name", true},
        {"host", true},
        {"slots", false},
        {"incarnation", false},
        {"nonce", true},
        {"presence", true},
        {"draining", false}},
       1},
      {"specs", {{"job", true}, {"spec", true}}, 1},
      {"jobs",
       {{"id", true},           {"number", false},       {"state", true},
        {"intent", true},       {"reason", true},        {"generation", false},
        {"data", false},        {"ranks", true},         {"held", false},
        {"ran", false},         {"rollback", false},     {"resume_generation", false},
        {"resume_step", false}, {"resume_digest", true}, {"restarts", false},
        {"fruitless", false},   {"reached_step", false}, {"submitted_us", false},
        {"started_us", false},  {"ended_us", false}},
       1},
      {"commits", {{"job", true}, {"step", false}, {"generation", false}, {"digest", true}, {"wall_us", false}}, 2},
  }};
  return kShapes[static_cast<size_t>(table)];
}

uint64_t DigestOf(Table table, const Record& record) {
  std::string bytes = ShapeOf(table).name;
  for (const Value& value : record) {
    const auto* text = std::get_if<std::string>(&value);
    const auto number = text == nullptr ? std::get<int64_t>(value) : static_cast<int64_t>(text->size());
    bytes += text == nullptr ? 'i' : 't';
    for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(static_cast<uint64_t>(number) >> shift);
    if (text != nullptr) bytes += *text;
  }
  return XXH3_64bits(bytes.data(), bytes.size());
}

Record RecordOf(const State& row) { return {int64_t{0}, row.epoch, static_cast<int64_t>(row.total)}; }

Record RecordOf(const WorkerRow& row) {
  return {row.name,
          row.host,
          int64_t{row.slots},
          row.incarnation,
          row.nonce,
          std::string(kPresences[static_cast<int>(row.presence)]),
          int64_t{row.draining}};
}

Record RecordOf(const SpecRow& row) { return {row.job, contract::EncodeJobSpec(*row.spec)}; }

Record RecordOf(const JobRow& row) {
  const CommitPoint resume = row.resume.value_or(CommitPoint());
  return {row.id,
          row.number,
          std::string(Name(row.state)),
          std::string(Name(row.intent)),
          row.reason,
          row.generation,
          int64_t{row.data},
          TextOfRanks(row.ranks),
          int64_t{row.held},
          int64_t{row.ran},
          int64_t{row.rollback},
          resume.generation,
          resume.step,
          resume.digest,
          int64_t{row.restarts},
          int64_t{row.fruitless},
          row.reached_step,
          row.submitted_us,
          row.started_us,
          row.ended_us};
}

Record RecordOf(const CommitRow& row) {
  return {row.job, row.point.step, row.point.generation, row.point.digest, row.wall_us};
}

absl::StatusOr<State> StateOf(const Record& record) {
  Taker take(record);
  State row;
  if (take.Number<int64_t>("id") != 0) take.Fail("id: 0 was expected");
  row.epoch = take.Number<int64_t>("epoch");
  row.total = static_cast<uint64_t>(take.Number<int64_t>("total"));
  take.Keep(CheckFields(row.epoch));
  return take.Done(row);
}

absl::StatusOr<WorkerRow> WorkerOf(const Record& record) {
  Taker take(record);
  WorkerRow row;
  row.name = take.Text();
  row.host = take.Text();
  row.slots = take.Number<int32_t>("slots");
  row.incarnation = take.Number<int64_t>("incarnation");
  row.nonce = take.Text();
  const std::string presence = take.Text();
  row.draining = take.Flag("draining");
  size_t found = 0;
  while (found < std::size(kPresences) && presence != kPresences[found]) ++found;
  if (found == std::size(kPresences)) take.Fail("presence: " + contract::Shown(presence) + " is unknown");
  row.presence = static_cast<Presence>(found % std::size(kPresences));
  take.Keep(CheckFields(row));
  return take.Done(std::move(row));
}

absl::StatusOr<SpecRow> SpecOf(const Record& record) {
  Taker take(record);
  SpecRow row;
  row.job = take.Text();
  auto spec = contract::DecodeJobSpec(take.Text(), "spec");
  if (spec.ok())
    row.spec = std::make_shared<const contract::JobSpec>(*std::move(spec));
  else
    take.Fail(std::string(spec.status().message()));
  return take.Done(std::move(row));
}

absl::StatusOr<JobRow> JobOf(const Record& record) {
  Taker take(record);
  JobRow row;
  row.id = take.Text();
  row.number = take.Number<int64_t>("number");
  const std::string state_name = take.Text(), intent_name = take.Text();
  const auto state = JobStateOf(state_name);
  const auto intent = IntentOf(intent_name);
  if (!state) take.Fail("state: " + contract::Shown(state_name) + " is unknown");
  if (!intent) take.Fail("intent: " + contract::Shown(intent_name) + " is unknown");
  row.state = state.value_or(JobState::kSubmitted);
  row.intent = intent.value_or(Intent::kNone);
  row.reason = take.Text();
  row.generation = take.Number<int64_t>("generation");
  row.data = take.Number<int32_t>("data");
  if (auto ranks = RanksOf(take.Text()); ranks.ok())
    row.ranks = *std::move(ranks);
  else
    take.Keep(ranks.status());
  row.held = take.Flag("held");
  row.ran = take.Flag("ran");
  row.rollback = take.Flag("rollback");
  row.resume = TakePoint(take);
  row.restarts = take.Number<int32_t>("restarts");
  row.fruitless = take.Number<int32_t>("fruitless");
  row.reached_step = take.Number<int64_t>("reached_step");
  row.submitted_us = take.Number<int64_t>("submitted_us");
  row.started_us = take.Number<int64_t>("started_us");
  row.ended_us = take.Number<int64_t>("ended_us");
  take.Keep(CheckFields(row));
  return take.Done(std::move(row));
}

absl::StatusOr<CommitRow> CommitOf(const Record& record) {
  Taker take(record);
  CommitRow row;
  row.job = take.Text();
  row.point.step = take.Number<int64_t>("step");
  row.point.generation = take.Number<int64_t>("generation");
  row.point.digest = take.Text();
  row.wall_us = take.Number<int64_t>("wall_us");
  take.Keep(CheckFields(row));
  return take.Done(std::move(row));
}

}  // namespace filigree::coordinator
