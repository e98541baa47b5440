#ifndef FILIGREE_WORKER_EXCHANGE_OVERLAPPED_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_OVERLAPPED_SUM_H_

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "worker/exchange/batch_sum.h"
#include "worker/exchange/gradient_tree.h"

// The sum of a step's gradients beside the backward pass that makes them: a bucket goes as soon as backward has it
// ready, one after another, in the order that all ranks share, on a thread of this object. Whoever calls goes on
// computing and waits only for what is left in the end.
//
//   Begin, then StageDone(0), StageDone(1) and so on, then Finish
//
// Threads: one caller. From Begin to the end of Finish or GiveUp the BatchSum and its communicator belong to this
// object.

namespace filigree::exchange {

class OverlappedSum {
 public:
  // Borrows it.
  explicit OverlappedSum(BatchSum& sum);
  ~OverlappedSum();  // between steps
  OverlappedSum(const OverlappedSum&) = delete;
  OverlappedSum& operator=(const OverlappedSum&) = delete;

  // nodes: as BatchSum::Begin takes them.
  void Begin(std::vector<GradientTree::Node> nodes);
  // This stage of backward and all before it are over, and what they left stands in the nodes.
  void StageDone(int stage);
  // After the last stage: waits until the sum of all is there. The error of the first bucket that failed; those after
  // it are left out.
  absl::Status Finish();
  // Backward has failed, and some stages never come. No bucket begins any more; waits for the one under way, which ends
  // where the communicator has been aborted.
  void GiveUp();

 private:
  void Work();
  bool CanGo() const { return next_ < stages_.size() && stages_[next_] <= done_; }

  BatchSum& sum_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  std::vector<int> stages_;  // after which each bucket of this step may go
  size_t next_ = 0;          // bucket; the number of them: nothing is left to do
  int done_ = -1;            // stage
  bool under_way_ = false;
  bool stopping_ = false;
  absl::Status status_;  // of this step
  std::thread thread_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_OVERLAPPED_SUM_H_
