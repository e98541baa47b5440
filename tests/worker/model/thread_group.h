#ifndef FILIGREE_TESTS_WORKER_MODEL_THREAD_GROUP_H_
#define FILIGREE_TESTS_WORKER_MODEL_THREAD_GROUP_H_

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "worker/model/tensor_group.h"

// Ranks of a tensor group as threads of one process: they read from each other's memory between two meetings.

namespace filigree::model {

class ThreadRanks {
 public:
  // fail_at: the call (counted from 0) from which on every rank gets Unavailable; -1: never.
  explicit ThreadRanks(int size, int fail_at = -1) : calls_(size), fail_at_(fail_at) {
    for (int r = 0; r < size; ++r) ranks_.push_back(std::make_unique<Rank>(*this, r));
  }
  TensorGroup& rank(int r) { return *ranks_[r]; }
  int size() const { return static_cast<int>(calls_.size()); }

  // run(rank) on a thread of its own for every rank.
  void Run(const std::function<void(int rank)>& run) {
    std::vector<std::thread> threads;
    threads.reserve(calls_.size());
    for (int r = 0; r < size(); ++r) threads.emplace_back(run, r);
    for (std::thread& thread : threads) thread.join();
  }

  // Bytes that rank 0 sent to others, by what they were for, and its calls.
  std::map<std::string, int64_t> sent;
  int64_t calls = 0;

 private:
  struct Call {
    std::string what;
    const std::byte* send = nullptr;
    std::vector<int64_t> sizes;
  };

  class Rank : public TensorGroup {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size(); }
    absl::Status AllToAll(const char* what, std::span<const std::byte> send, std::span<const int64_t> send_bytes,
                          std::span<std::byte> receive, std::span<const int64_t> receive_bytes) override {
      EXPECT_EQ(Sum(send_bytes), static_cast<int64_t>(send.size())) << what;
      EXPECT_EQ(Sum(receive_bytes), static_cast<int64_t>(receive.size())) << what;
      EXPECT_EQ(send_bytes[rank_], 0) << what;
      all_.calls_[rank_] = {what, send.data(), {send_bytes.begin(), send_bytes.end()}};
      if (rank_ == 0) all_.sent[what] += Sum(send_bytes);
      return all_.Meet(rank_, [&] {
        std::byte* to = receive.data();
        for (int r = 0; r < size(); ++r) {
          const Call& from = all_.calls_[r];
          EXPECT_EQ(from.what, what) << "rank " << r;
          EXPECT_EQ(from.sizes[rank_], receive_bytes[r]) << what << " from rank " << r;
          to = std::copy_n(from.send + Sum(std::span(from.sizes).first(rank_)), receive_bytes[r], to);
        }
      });
    }
    absl::Status AllGather(const char* what, std::span<std::byte> all, std::span<const int64_t> bytes) override {
      EXPECT_EQ(Sum(bytes), static_cast<int64_t>(all.size())) << what;
      all_.calls_[rank_] = {what, all.data(), {bytes.begin(), bytes.end()}};
      if (rank_ == 0) all_.sent[what] += bytes[0] * (size() - 1);
      return all_.Meet(rank_, [&] {
        for (int r = 0; r < size(); ++r) {
          const Call& from = all_.calls_[r];
          EXPECT_EQ(from.what, what) << "rank " << r;
          EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), from.sizes.begin())) << what << " from rank " << r;
          const int64_t begin = Sum(bytes.first(r));
          if (r != rank_) std::copy_n(from.send + begin, bytes[r], all.data() + begin);
        }
      });
    }

   private:
    static int64_t Sum(std::span<const int64_t> sizes) {
      int64_t sum = 0;
      for (const int64_t size : sizes) sum += size;
      return sum;
    }
    ThreadRanks& all_;
    int rank_;
  };

  // All ranks meet, copy, and meet again.
  absl::Status Meet(int rank, const std::function<void()>& copy) {
    Wait();
    const bool fails = fail_at_ >= 0 && calls >= fail_at_;
    if (!fails) copy();
    Wait();
    if (rank == 0) ++calls;
    Wait();
    return fails ? absl::UnavailableError("a rank is gone") : absl::OkStatus();
  }

  void Wait() {
    std::unique_lock lock(mutex_);
    const int64_t meeting = meeting_;
    if (++waiting_ == size()) {
      waiting_ = 0;
      ++meeting_;
      met_.notify_all();
      return;
    }
    met_.wait(lock, [&] { return meeting_ != meeting; });
  }

  std::vector<Call> calls_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  int fail_at_;
  std::mutex mutex_;
  std::condition_variable met_;
  int waiting_ = 0;
  int64_t meeting_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_TESTS_WORKER_MODEL_THREAD_GROUP_H_
