#ifndef FILIGREE_WORKER_PARALLEL_PROGRESS_H_
#define FILIGREE_WORKER_PARALLEL_PROGRESS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

// How far this rank is, for its watchdog: what it does, since when, and whether it waits for others.
//
// Threads: one writes, any may read; one looks.

namespace filigree::parallel {

class Progress {
 public:
  // The rank does something else now. `phase` is a literal. Phases of a step take about as long every time, others do
  // not.
  enum class Kind { kOfStep, kOther };
  void Enter(const char* phase, int64_t step, Kind kind);
  // Still at it: another shard, another chunk, another file.
  void Tick() { last_ns_.store(Now(), std::memory_order_relaxed); }
  // Whoever works for this rank counts what it has done here (ThreadPool::CountInto); Look, called by whoever watches,
  // takes a count that has grown since for a Tick. So a phase may be long, as the parts of one never are.
  const std::shared_ptr<std::atomic<int64_t>>& work_done() const { return work_done_; }
  void Look();
  // The rank is inside a collective operation, so that what keeps it is another rank.
  class Waiting {
   public:
    explicit Waiting(Progress& progress) : progress_(progress), outermost_(!progress.waiting_.exchange(true)) {}
    ~Waiting() {
      progress_.Tick();
      if (outermost_) progress_.waiting_ = false;
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    Progress& progress_;
    bool outermost_;
  };
  // A step is done that took so long.
  void StepDone(double seconds);

  const char* phase() const { return phase_.load(std::memory_order_relaxed); }
  bool in_step() const { return in_step_.load(std::memory_order_relaxed); }
  int64_t step() const { return step_.load(std::memory_order_relaxed); }
  bool waiting() const { return waiting_.load(std::memory_order_relaxed); }
  double seconds_since_last() const {
    return 1e-9 * static_cast<double>(Now() - last_ns_.load(std::memory_order_relaxed));
  }
  double median_step_seconds() const;  // of the last steps; 0: none yet

 private:
  static int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  std::atomic<const char*> phase_{"opening the run"};
  std::atomic<int64_t> step_{0}, last_ns_{Now()};
  std::atomic<bool> waiting_{false}, in_step_{false};
  const std::shared_ptr<std::atomic<int64_t>> work_done_ = std::make_shared<std::atomic<int64_t>>(0);
  int64_t seen_ = 0;  // of work_done_; Look's alone
  mutable std::mutex mutex_;
  std::deque<double> step_seconds_;  // guarded by mutex_
};

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_PROGRESS_H_
