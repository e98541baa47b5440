#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "coordinator/console/answers.h"

// What ranks print arrives in pieces that end anywhere; people read lines.

namespace filigree::coordinator {
namespace {

constexpr int64_t kMostBytes = 64 << 10, kLeastBytes = 1 << 10;  // of all logs; of one rank's in any case
constexpr size_t kMostLineBytes = 8 << 10;

// Puts pieces together, a log at a time; lines in the order of their ends.
class Lines {
 public:
  void Take(const LogPart& part) {
    Open& open = open_[part.key];
    const bool gap = open.next >= 0 && part.offset > open.next;
    if (gap && !open.text.empty()) Say(part.key, std::exchange(open.text, ""));
    if (gap) lines_.push_back(Head(part.key, {{"missing", part.offset - open.next}}));
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
    return std::move(lines_);
  }

 private:
  struct Open {
    int64_t next = -1;  // offset behind what was taken; -1: nothing
    bool broken = false;
    std::string text;
  };

  static Json Head(const LogKey& key, Json more) {
    more["generation"] = key.generation;
    more["rank"] = key.rank;
    return more;
  }
  void Say(const LogKey& key, const std::string& text) { lines_.push_back(Head(key, {{"text", text}})); }

  std::map<LogKey, Open> open_;
  Json lines_ = Json::array();
};

}  // namespace

absl::StatusOr<Json> LogJson(const Core& core, const LogStore& logs, const ReadLogQuery& query, int64_t after) {
  const JobRow* row = core.tables().FindJob(query.job);
  if (row == nullptr) return absl::NotFoundError("no such job");
  // Another process of the coordinator counts anew: what it counts from is not known here.
  LogStore::Position seen;
  seen.after = after <= logs.last_arrival() ? after : 0;
  Json json = {{"job", query.job}, {"after", logs.last_arrival()}, {"lines", nullptr}};
  if (after > 0 && logs.Read(query, seen, 1).empty()) return json;
  ReadLogQuery tail = query;
  const auto ranks = std::max<int64_t>(static_cast<int64_t>(row->ranks.size()), 1);
  tail.tail_bytes = query.rank ? kMostBytes : std::max(kMostBytes / ranks, kLeastBytes);
  LogStore::Position position = logs.Begin(tail);
  Lines lines;
  constexpr size_t kAll = std::numeric_limits<size_t>::max();  // the store bounds what it keeps of a job
  for (const LogPart& part : logs.Read(tail, position, kAll)) lines.Take(part);
  json["lines"] = lines.End();
  return json;
}

}  // namespace filigree::coordinator
