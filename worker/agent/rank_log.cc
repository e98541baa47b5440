#include "worker/agent/rank_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "worker/telemetry/display.h"

namespace filigree::agent {

RankLog::RankLog(std::string path, size_t file_bytes) : path_(std::move(path)), file_limit_(file_bytes) { BeginFile(); }

RankLog::~RankLog() {
  if (file_ >= 0) close(file_);
}

// One that is there already was another process's with the same state folder: it is the older one now.
void RankLog::BeginFile() {
  if (file_ >= 0) close(file_);
  std::rename(path_.c_str(), (path_ + ".1").c_str());
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  file_size_ = 0;
}

void RankLog::WriteToFile(std::string_view bytes) {
  while (!bytes.empty()) {
    if (file_size_ >= file_limit_) BeginFile();
    const ssize_t count = write(file_, bytes.data(), std::min(bytes.size(), file_limit_ - file_size_));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    file_size_ += static_cast<size_t>(count);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void RankLog::Append(std::string_view bytes) {
  WriteToFile(bytes);
  end_ += static_cast<int64_t>(bytes.size());
  if (bytes.size() > kMemoryBytes) bytes.remove_prefix(bytes.size() - kMemoryBytes);
  recent_ += bytes;
  // In large steps: what is cut off is moved over.
  if (recent_.size() > 2 * kMemoryBytes) recent_.erase(0, recent_.size() - kMemoryBytes);
}

std::string RankLog::Tail(size_t most_lines, size_t most_bytes) const {
  const size_t taken = std::min(recent_.size(), most_bytes);
  std::string text = telemetry::Printable(recent_.substr(recent_.size() - taken));
  bool cut = taken < recent_.size();
  if (text.size() > most_bytes) {  // what is no UTF-8 grew when it was made so
    size_t begin = text.size() - most_bytes;
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
    text.erase(0, begin);
    cut = true;
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t begin = text.size();
  for (size_t lines = 0; lines < most_lines && begin > 0; ++lines) {
    const size_t newline = text.rfind('\n', begin - 1);
    const bool first = newline == std::string::npos;
    if (first && cut && lines > 0) break;  // a part of a line, with whole ones behind it
    begin = first ? 0 : newline;
  }
  if (begin < text.size() && text[begin] == '\n') ++begin;
  return text.substr(begin);
}

RankLog::Piece RankLog::Unsent(size_t most_bytes) const {
  const int64_t oldest = end_ - static_cast<int64_t>(recent_.size());
  const int64_t offset = std::max(sent_, oldest);
  return {offset, recent_.substr(static_cast<size_t>(offset - oldest), most_bytes)};
}

void RankLog::MarkSent(int64_t end) { sent_ = std::max(sent_, std::min(end, end_)); }

}  // namespace filigree::agent
