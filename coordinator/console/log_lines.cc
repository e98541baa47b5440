#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "coordinator/console/answers.h"

// What ranks print arrives in pieces that end anywhere; people read lines.

namespace filigree::coordinator {
namespace {

constexpr int64_t kMostBytes = 64 << 10, kLeastBytes = 1 << 10;  // of all lines; looked at of one rank in any case
constexpr size_t kMostLines = 1000, kMostLineBytes = 8 << 10;

// Puts pieces together, a log at a time; lines in the order of their ends, as many of the last as are shown.
class Lines {
 public:
  void Take(const LogPart& part) {
    Open& open = open_[part.key];
    const bool gap = open.next >= 0 && part.offset > open.next;
    if (gap && !open.text.empty()) Say(part.key, std::exchange(open.text, ""));
    if (gap) Keep({part.key, part.offset - open.next, ""});
    // The first line of a tail has lost its beginning.
    if (open.next < 0) open.broken = part.offset > 0;
    open.next = part.offset + static_cast<int64_t>(part.text.size());
    for (const char letter : part.text) {
      if (letter != '\n' && open.text.size() < kMostLineBytes) open.text += letter;
      if (letter != '\n') continue;
      if (!open.broken) Say(part.key, open.text);
      open.broken = false;
      open.text.clear();
    }
  }

  Json End() {
    for (const auto& [key, open] : open_)
      if (!open.text.empty()) Say(key, open.text);
    Json json = Json::array();
    for (Line& line : lines_) {
      Json shown = {{"generation", line.key.generation}, {"rank", line.key.rank}};
      if (line.missing > 0)
        shown["missing"] = line.missing;
      else
        shown["text"] = std::move(line.text);
      json.push_back(std::move(shown));
    }
    return json;
  }

 private:
  struct Open {
    int64_t next = -1;  // offset behind what was taken; -1: nothing
    bool broken = false;
    std::string text;
  };

  struct Line {
    LogKey key;
    int64_t missing = 0;  // bytes in its place
    std::string text;
  };

  void Say(const LogKey& key, std::string text) { Keep({key, 0, std::move(text)}); }
  void Keep(Line line) {
    bytes_ += line.text.size();
    lines_.push_back(std::move(line));
    while (lines_.size() > kMostLines || bytes_ > kMostBytes) {
      bytes_ -= lines_.front().text.size();
      lines_.pop_front();
    }
  }

  std::map<LogKey, Open> open_;
  std::deque<Line> lines_;
  size_t bytes_ = 0;  // of their texts
};

}  // namespace

absl::StatusOr<LogTail> TailOf(const Core& core, const LogStore& logs, const ReadLogQuery& query, int64_t after) {
  const JobRow* row = core.tables().FindJob(query.job);
  if (row == nullptr) return absl::NotFoundError("no such job");
  LogTail tail = {query.job, logs.last_arrival(), true, {}};
  // Another process of the coordinator counts anew: what it counts from is not known here.
  LogStore::Position seen;
  seen.after = after <= logs.last_arrival() ? after : 0;
  tail.changed = after <= 0 || !logs.Read(query, seen, 1).empty();
  if (!tail.changed) return tail;
  ReadLogQuery last = query;
  const auto ranks = std::max<int64_t>(static_cast<int64_t>(row->ranks.size()), 1);
  last.tail_bytes = query.rank ? kMostBytes : std::max(kMostBytes / ranks, kLeastBytes);
  LogStore::Position position = logs.Begin(last);
  constexpr size_t kAll = std::numeric_limits<size_t>::max();  // the store bounds what it keeps of a job
  tail.parts = logs.Read(last, position, kAll);
  return tail;
}

Json LogJson(const LogTail& tail) {
  Json json = {{"job", tail.job}, {"after", tail.after}, {"lines", nullptr}};
  if (!tail.changed) return json;
  Lines lines;
  for (const LogPart& part : tail.parts) lines.Take(part);
  json["lines"] = lines.End();
  return json;
}

}  // namespace filigree::coordinator
