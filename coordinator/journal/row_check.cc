#include <fmt/format.h>

#include <algorithm>

#include "coordinator/journal/records.h"
#include "proto/contract/ids.h"

// The ranges of every field, for rows on their way out and in.

namespace filigree::coordinator {
namespace {

// Generations, incarnations, epochs, times: they are counted up from, so they stay far from the end of their type.
constexpr int64_t kMaxCount = int64_t{1} << 62;
constexpr int32_t kMaxFaults = 1 << 30;
constexpr size_t kMaxReasonBytes = 1 << 16;

absl::Status Range(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: {} is outside {}..{}", field, value, low, high));
}

absl::Status Id(const char* field, const std::string& text) {
  if (contract::IsId(text)) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: {} is no name", field, contract::Shown(text)));
}

absl::Status Count(const char* field, int64_t value, int64_t low = 0) { return Range(field, value, low, kMaxCount); }

absl::Status Line(const char* field, const std::string& text) {
  if (text.size() <= kMaxReasonBytes &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }))
    return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: {} is no printable line", field, contract::Shown(text)));
}

absl::Status Point(const CommitPoint& point) {
  for (const absl::Status& status : {Count("generation of a commit", point.generation, 1),
                                     Range("step of a commit", point.step, 0, int64_t{1} << 53)})
    if (!status.ok()) return status;
  const absl::Status digest = contract::CheckDigest("digest of a commit", point.digest);
  return digest.ok() ? digest : absl::DataLossError(digest.message());
}

absl::Status Counters(const JobRow& row) {
  for (const absl::Status& status :
       {Count("number", row.number, 1), Count("generation", row.generation),
        Range("data", row.data, 0, contract::kMaxRanks), Range("restarts", row.restarts, 0, kMaxFaults),
        Range("fruitless", row.fruitless, 0, kMaxFaults), Count("reached_step", row.reached_step),
        Range("submitted_us", row.submitted_us, -kMaxCount, kMaxCount),
        Range("started_us", row.started_us, -kMaxCount, kMaxCount),
        Range("ended_us", row.ended_us, -kMaxCount, kMaxCount),
        Range("number of ranks", static_cast<int64_t>(row.ranks.size()), 0, contract::kMaxRanks)})
    if (!status.ok()) return status;
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFields(int64_t epoch) { return Count("epoch", epoch); }

absl::Status CheckFields(const WorkerRow& row) {
  for (const absl::Status& status :
       {Id("name of a worker", row.name), Id("host", row.host), Range("slots", row.slots, 1, kMaxSlots),
        Count("incarnation", row.incarnation, 1), Id("nonce", row.nonce)})
    if (!status.ok()) return status;
  return absl::OkStatus();
}

absl::Status CheckFields(const JobRow& row) {
  for (const absl::Status& status : {Id("id of a job", row.id), Line("reason", row.reason), Counters(row)})
    if (!status.ok()) return status;
  for (const RankPlace& place : row.ranks)
    for (const absl::Status& status :
         {Id("worker of a rank", place.worker), Count("incarnation of a rank", place.incarnation, 1)})
      if (!status.ok()) return status;
  if (row.resume)
    if (absl::Status status = Point(*row.resume); !status.ok()) return status;
  return row.spec == nullptr ? absl::OkStatus() : contract::Validate(*row.spec);
}

absl::Status CheckFields(const CommitRow& row) {
  for (const absl::Status& status : {Id("job of a commit", row.job), Point(row.point),
                                     Range("time of a commit", row.wall_us, -kMaxCount, kMaxCount)})
    if (!status.ok()) return status;
  return absl::OkStatus();
}

}  // namespace filigree::coordinator
