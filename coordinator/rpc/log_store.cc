#include "coordinator/rpc/log_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "coordinator/rpc/key_store.h"

namespace filigree::coordinator {
namespace {

// What a part takes beside its text, here and in the tables that lead to it.
constexpr size_t kPartBytes = 256;

size_t BytesOf(const LogPart& part) { return part.text.size() + kPartBytes; }

bool Has(const std::vector<RankPlace>& ranks, int32_t rank, const Speaker& speaker) {
  return rank >= 0 && static_cast<size_t>(rank) < ranks.size() &&
         ranks[static_cast<size_t>(rank)] == RankPlace{speaker.worker, speaker.incarnation};
}

bool Wanted(const ReadLogQuery& query, const LogKey& key) {
  return (!query.rank || *query.rank == key.rank) && (!query.generation || *query.generation == key.generation);
}

}  // namespace

void LogStore::Remember(const JobRow& row) {
  Places& places = places_[row.id];
  if (places.generation == row.generation) return;
  places.earlier = places.generation;
  places.earlier_ranks = std::move(places.ranks);
  places.generation = row.generation;
  places.ranks = row.ranks;
}

absl::Status LogStore::Check(const Tables& tables, const Speaker& speaker, const LogPart& part) {
  const JobRow* row = tables.FindJob(part.job);
  if (row == nullptr) return absl::NotFoundError(fmt::format("log of job {}, which is not known here", part.job));
  const auto places = places_.find(part.job);
  if (row->generation == part.key.generation && Has(row->ranks, part.key.rank, speaker)) {
    if (!Ended(row->state)) Remember(*row);
    return absl::OkStatus();
  }
  if (places != places_.end() && places->second.earlier == part.key.generation &&
      Has(places->second.earlier_ranks, part.key.rank, speaker))
    return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("log of rank {} of job {}: worker {} does not have it in generation {}; the job is at generation {}",
                  part.key.rank, part.job, speaker.worker, part.key.generation, row->generation));
}

absl::Status LogStore::Take(const Tables& tables, SendLogQuery query) {
  absl::Status first = CheckLive(tables, query.speaker);
  if (!first.ok()) return first;
  for (LogPart& part : query.parts) {
    const absl::Status status = Check(tables, query.speaker, part);
    first.Update(status);
    if (!status.ok()) continue;
    const bool open = !Ended(tables.FindJob(part.job)->state);
    Add(open, std::move(part));
  }
  return first;
}

void LogStore::Follow(const Changes& rows) {
  for (const JobRow& row : rows.jobs) {
    if (row.generation > 0) Remember(row);
    if (!Ended(row.state)) continue;
    places_.erase(row.id);
    const auto job = jobs_.find(row.id);
    if (job == jobs_.end() || !job->second.open) continue;
    ++arrivals_;
    Touch(job->first, job->second, false);
  }
}

void LogStore::Touch(const std::string& id, JobLog& job, bool open) {
  order_.erase({{job.open, job.touched}, id});
  job.open = open;
  job.touched = arrivals_;
  order_.insert({{job.open, job.touched}, id});
}

void LogStore::Resize(JobLog& job, const LogKey& key, Log& log, size_t bytes) {
  job.by_size.erase({log.bytes, key});
  job.bytes += bytes - log.bytes;
  bytes_ += bytes - log.bytes;
  log.bytes = bytes;
  job.by_size.insert({log.bytes, key});
}

// The first part of a log; with its last part the log is gone.
void LogStore::DropFirst(JobLog& job, LogKey key) {
  Log& log = job.logs[key];
  const auto part = job.parts.find(log.arrivals.front());
  Resize(job, key, log, log.bytes - BytesOf(part->second));
  job.parts.erase(part);
  log.arrivals.pop_front();
  if (!log.arrivals.empty()) return;
  job.by_size.erase({log.bytes, key});
  job.logs.erase(key);
}

// The log to what one rank may keep: parts go from the front, and of the last one its beginning.
void LogStore::Trim(JobLog& job, const LogKey& key) {
  Log& log = job.logs[key];
  while (log.bytes > limits_.log_rank_bytes && log.arrivals.size() > 1) DropFirst(job, key);
  if (log.bytes <= limits_.log_rank_bytes) return;
  LogPart& part = job.parts[log.arrivals.front()];
  const size_t over = std::min(log.bytes - limits_.log_rank_bytes, part.text.size());
  part.text = part.text.substr(over);
  part.offset += static_cast<int64_t>(over);
  Resize(job, key, log, log.bytes - over);
}

void LogStore::Add(bool open, LogPart part) {
  const std::string id = part.job;
  const LogKey key = part.key;
  const auto known = jobs_.find(id);
  if (known != jobs_.end()) {
    const auto log = known->second.logs.find(key);
    const int64_t have = log == known->second.logs.end() ? 0 : log->second.end - part.offset;
    if (have > 0) {
      part.text = part.text.substr(std::min(static_cast<size_t>(have), part.text.size()));
      part.offset += have;
    }
  }
  if (part.text.empty()) return;
  ++arrivals_;
  JobLog& job = jobs_[id];
  Log& log = job.logs[key];
  log.end = part.offset + static_cast<int64_t>(part.text.size());
  log.arrivals.push_back(arrivals_);
  const size_t bytes = BytesOf(part);
  job.parts.emplace(arrivals_, std::move(part));
  Resize(job, key, log, log.bytes + bytes);
  Touch(id, job, open);
  Trim(job, key);
  while (job.bytes > limits_.log_job_bytes) DropFirst(job, job.by_size.rbegin()->second);
  while (bytes_ > limits_.log_store_bytes) {
    const auto first = jobs_.find(order_.begin()->second);
    bytes_ -= first->second.bytes;
    jobs_.erase(first);
    order_.erase(order_.begin());
  }
}

LogStore::Position LogStore::Begin(const ReadLogQuery& query) const {
  Position position;
  const auto job = jobs_.find(query.job);
  if (job == jobs_.end() || query.tail_bytes == 0) return position;
  for (const auto& [key, log] : job->second.logs) {
    if (!Wanted(query, key)) continue;
    int64_t left = query.tail_bytes, begin = 0;
    for (auto at = log.arrivals.rbegin(); at != log.arrivals.rend() && left > 0; ++at) {
      const LogPart& part = job->second.parts.at(*at);
      const auto size = static_cast<int64_t>(part.text.size());
      begin = part.offset + std::max<int64_t>(size - left, 0);
      left -= size;
    }
    position.begin[key] = begin;
  }
  return position;
}

std::vector<LogPart> LogStore::Read(const ReadLogQuery& query, Position& position, size_t bytes) const {
  std::vector<LogPart> parts;
  const auto job = jobs_.find(query.job);
  if (job == jobs_.end()) return parts;
  size_t taken = 0;
  for (auto at = job->second.parts.upper_bound(position.after); at != job->second.parts.end(); ++at) {
    const LogPart& part = at->second;
    if (!parts.empty() && taken + BytesOf(part) > bytes) break;
    position.after = at->first;
    if (!Wanted(query, part.key)) continue;
    const auto begin = position.begin.find(part.key);
    const int64_t skipped = begin == position.begin.end() ? 0 : std::max<int64_t>(begin->second - part.offset, 0);
    if (skipped >= static_cast<int64_t>(part.text.size())) continue;
    taken += BytesOf(part);
    parts.push_back({"", part.key, part.offset + skipped, part.text.substr(static_cast<size_t>(skipped))});
  }
  return parts;
}

}  // namespace filigree::coordinator
