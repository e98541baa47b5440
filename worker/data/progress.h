#ifndef FILIGREE_WORKER_DATA_PROGRESS_H_
#define FILIGREE_WORKER_DATA_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

namespace filigree::data {

// Where a long job stands: a phase ("reading files"), how much of it is done, and of what ("bytes").
struct ProgressReport {
  std::string phase;
  int64_t done = 0;
  int64_t total = 0;
  std::string unit;
};

// Called at the beginning of a phase, as it goes on, and at its end with done == total; never by two threads at a time.
using ProgressSink = std::function<void(const ProgressReport&)>;

// One phase whose parts finish in any order. Thread-safe.
class PhaseProgress {
 public:
  // An empty `sink` is allowed.
  PhaseProgress(const ProgressSink& sink, std::string phase, int64_t total, std::string unit)
      : sink_(sink), report_{std::move(phase), 0, total, std::move(unit)} {
    Add(0);
  }

  void Add(int64_t done) {
    const std::lock_guard lock(mutex_);
    report_.done += done;
    if (sink_) sink_(report_);
  }

 private:
  const ProgressSink& sink_;
  std::mutex mutex_;
  ProgressReport report_;  // guarded by mutex_
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_PROGRESS_H_
