#include "worker/exchange/overlapped_sum.h"

#include <utility>

#include "kernels/base/check.h"

namespace filigree::exchange {

OverlappedSum::OverlappedSum(BatchSum& sum) : sum_(sum), thread_([this] { Work(); }) {}

OverlappedSum::~OverlappedSum() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void OverlappedSum::Begin(std::vector<GradientTree::Node> nodes) {
  const std::lock_guard lock(mutex_);
  CHECK(next_ == stages_.size() && !under_way_, "a step before the last one was finished");
  sum_.Begin(std::move(nodes));
  stages_.clear();
  for (const Bucket& bucket : sum_.buckets()) stages_.push_back(bucket.stage);
  next_ = 0;
  done_ = -1;
  status_ = absl::OkStatus();
}

void OverlappedSum::StageDone(int stage) {
  const std::lock_guard lock(mutex_);
  done_ = stage;
  changed_.notify_all();
}

absl::Status OverlappedSum::Finish() {
  std::unique_lock lock(mutex_);
  CHECK(next_ == stages_.size() || stages_.back() <= done_, "stage {} is still to come", stages_.back());
  changed_.wait(lock, [this] { return next_ == stages_.size(); });
  return status_;
}

void OverlappedSum::GiveUp() {
  std::unique_lock lock(mutex_);
  next_ = stages_.size();
  changed_.wait(lock, [this] { return !under_way_; });
}

void OverlappedSum::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || CanGo(); });
    if (stopping_) return;
    const size_t bucket = next_;
    under_way_ = true;
    lock.unlock();
    absl::Status summed = sum_.SumBucket(bucket);
    lock.lock();
    under_way_ = false;
    if (next_ == bucket) next_ = summed.ok() ? bucket + 1 : stages_.size();
    status_ = std::move(summed);
    changed_.notify_all();
  }
}

}  // namespace filigree::exchange
