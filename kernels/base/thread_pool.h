#ifndef FILIGREE_KERNELS_BASE_THREAD_POOL_H_
#define FILIGREE_KERNELS_BASE_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace filigree::kernels {

// A fixed set of threads that run numbered tasks. Which thread runs which task is left open, so a result must not
// depend on it: a task writes only what no other task of the call touches, and sums over tasks are formed afterwards in
// order.
//
// Threads        Run is called from one thread at a time, never from inside a task of the same pool.
class ThreadPool {
 public:
  // `threads` >= 1, the caller of Run included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Counts every task that is done from now on, for whoever wants to see that there is progress; null: nobody. Not
  // during Run.
  void CountInto(std::shared_ptr<std::atomic<int64_t>> done) { counter_ = std::move(done); }

  // Calls task(i, worker) once for every i in [0, tasks), worker in [0, threads()); returns when all are done.
  // Tasks are handed out in ascending order.
  void Run(int64_t tasks, const std::function<void(int64_t task, int worker)>& task);

 private:
  void WorkerLoop(int worker);
  void TakeTasks(int worker);
  void Do(const std::function<void(int64_t, int)>& task, int64_t i, int worker) {
    task(i, worker);
    if (counter_ != nullptr) counter_->fetch_add(1, std::memory_order_relaxed);
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  uint64_t generation_ = 0;  // guarded by mutex_: counts calls of Run
  int busy_ = 0;             // guarded by mutex_: workers still inside the current call
  bool stop_ = false;        // guarded by mutex_
  const std::function<void(int64_t, int)>* task_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::shared_ptr<std::atomic<int64_t>> counter_;
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_THREAD_POOL_H_
