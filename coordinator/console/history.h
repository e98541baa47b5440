#ifndef FILIGREE_COORDINATOR_CONSOLE_HISTORY_H_
#define FILIGREE_COORDINATOR_CONSOLE_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/console/sample.h"
#include "coordinator/core/events.h"

namespace filigree::coordinator {

struct HistoryLimits {
  size_t points = 2000;                    // of a job; more, and every other one is given up
  size_t bytes = size_t{64} << 20;         // of all jobs; the one that was sampled least recently gives all of its own
  size_t events = 1000, text_bytes = 500;  // of one event
};

// What has been, for the curves and the list of events: in memory, bounded, gone with the process. Threads: any.
class History {
 public:
  explicit History(const HistoryLimits& limits = {}) : limits_(limits) {}

  // A sample of a generation and step that are known already replaces the last one.
  void Add(const std::string& job, const Sample& sample);
  void Add(const Event& event);

  // In the order of time; at most Limits::points.
  std::vector<Sample> SamplesOf(const std::string& job) const;
  std::optional<Sample> LastOf(const std::string& job) const;

  struct NumberedEvent {
    int64_t number = 0;  // from 1, without gaps
    Event event;
  };
  // The last `most` of those behind `after`, oldest first.
  std::vector<NumberedEvent> EventsAfter(int64_t after, size_t most) const;

  size_t bytes() const;

 private:
  struct Series {
    std::vector<Sample> points;  // evenly thinned; the last one is always the newest
    size_t stride = 1, skipped = 0;
    int64_t touched = 0;
  };

  void MakeRoom(const std::string& keep);

  const HistoryLimits limits_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, Series> series_;
  std::map<int64_t, std::string> by_touch_;
  int64_t touches_ = 0;
  size_t points_ = 0;
  std::deque<NumberedEvent> events_;
  int64_t last_event_ = 0;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_HISTORY_H_
