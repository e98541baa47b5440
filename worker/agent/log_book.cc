#include "worker/agent/log_book.h"

namespace filigree::agent {
namespace {

constexpr size_t kTailLines = 20, kTailBytes = 4096;
constexpr size_t kPartBytes = 64 << 10;
constexpr size_t kMessageBytes = size_t{1} << 20;
constexpr int kMostParts = 256;
constexpr size_t kMostLogs = 8192;  // of 4096 ranks, running and before

}  // namespace

void LogBook::Append(const RankId& id, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  Log& entry = logs_[id];
  if (entry.log == nullptr) entry.log = std::make_unique<RankLog>(path_(id));
  entry.log->Append(bytes);
  Forget();
}

std::string LogBook::Tail(const RankId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = logs_.find(id);
  return found == logs_.end() ? "" : found->second.log->Tail(kTailLines, kTailBytes);
}

void LogBook::Close(const RankId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = logs_.find(id);
  if (found == logs_.end()) return;
  found->second.closed = true;
  if (found->second.log->all_sent()) logs_.erase(found);
}

void LogBook::Forget() {
  for (auto at = logs_.begin(); at != logs_.end() && logs_.size() > kMostLogs;)
    at = at->second.closed ? logs_.erase(at) : std::next(at);
}

v1::SendLogRequest LogBook::Unsent() {
  const std::lock_guard lock(mutex_);
  v1::SendLogRequest request;
  if (logs_.empty()) return request;
  size_t bytes = 0;
  auto at = logs_.upper_bound(turn_);
  for (size_t looked = 0; looked < logs_.size(); ++looked, ++at) {
    if (at == logs_.end()) at = logs_.begin();
    const auto& [id, entry] = *at;
    if (entry.log->all_sent()) continue;
    if (request.parts_size() == kMostParts || bytes + kPartBytes > kMessageBytes) break;
    if (request.parts_size() > 0 &&
        (request.parts(0).job() != id.job || request.parts(0).generation() != id.generation))
      break;
    RankLog::Piece piece = entry.log->Unsent(kPartBytes);
    bytes += piece.bytes.size();
    v1::LogPart& part = *request.add_parts();
    part.set_job(id.job);
    part.set_generation(id.generation);
    part.set_rank(id.rank);
    part.set_offset(piece.offset);
    part.set_text(std::move(piece.bytes));
    turn_ = id;
  }
  return request;
}

void LogBook::MarkSent(const v1::SendLogRequest& request) {
  const std::lock_guard lock(mutex_);
  for (const v1::LogPart& part : request.parts()) {
    const auto found = logs_.find({part.job(), part.generation(), part.rank()});
    if (found == logs_.end()) continue;
    found->second.log->MarkSent(part.offset() + static_cast<int64_t>(part.text().size()));
    if (found->second.closed && found->second.log->all_sent()) logs_.erase(found);
  }
}

}  // namespace filigree::agent
