#include "kernels/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace filigree::kernels {
namespace {

class ThreadPoolOf : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolOf, RunsEachTaskExactlyOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<int> runs(tasks, 0);  // not atomic: only one thread may touch an entry
    pool.Run(tasks, [&](int64_t task, int) { ++runs[task]; });
    for (const int n : runs) ASSERT_EQ(n, 1) << tasks << " tasks";
  }
}

TEST_P(ThreadPoolOf, NamesWorkersInsideItsRangeAndOneThreadEach) {
  ThreadPool pool(GetParam());
  std::vector<std::thread::id> thread(pool.threads());
  std::vector<int64_t> last(pool.threads(), -1);
  for (int round = 0; round < 20; ++round) {
    std::fill(last.begin(), last.end(), -1);
    pool.Run(200, [&](int64_t task, int worker) {
      ASSERT_GE(worker, 0);
      ASSERT_LT(worker, GetParam());
      if (thread[worker] == std::thread::id()) thread[worker] = std::this_thread::get_id();
      ASSERT_EQ(thread[worker], std::this_thread::get_id());
      ASSERT_GT(task, last[worker]) << "tasks are handed out in ascending order";
      last[worker] = task;
    });
  }
}

// Plain memory written by tasks of one call is read by tasks of the next: Run must order them (ThreadSanitizer
// watches).
TEST_P(ThreadPoolOf, CanBeUsedAgainAndAgain) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> value(50);
  std::iota(value.begin(), value.end(), 0);
  std::vector<int64_t> next(value.size());
  for (int round = 0; round < 300; ++round) {
    pool.Run(static_cast<int64_t>(value.size()), [&](int64_t task, int) {
      next[task] = value[(task + 1) % value.size()];  // written by another task of the last call
    });
    value.swap(next);
  }
  for (size_t i = 0; i < value.size(); ++i) EXPECT_EQ(value[i], static_cast<int64_t>((i + 300) % value.size()));
}

TEST_P(ThreadPoolOf, GivesEachWorkerScratchOfItsOwn) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sum(pool.threads(), 0);
  pool.Run(1001, [&](int64_t task, int worker) { sum[worker] += task; });
  EXPECT_EQ(std::accumulate(sum.begin(), sum.end(), int64_t{0}), 1000 * 1001 / 2);
}

TEST_P(ThreadPoolOf, CountsWhatIsDoneForWhoeverAsks) {
  ThreadPool pool(GetParam());
  const auto done = std::make_shared<std::atomic<int64_t>>(0);
  pool.Run(5, [](int64_t, int) {});
  pool.CountInto(done);
  pool.Run(1, [&](int64_t, int) { EXPECT_EQ(*done, 0); });
  EXPECT_EQ(*done, 1);
  pool.Run(100, [](int64_t, int) {});
  EXPECT_EQ(*done, 101);
  pool.CountInto(nullptr);
  pool.Run(100, [](int64_t, int) {});
  EXPECT_EQ(*done, 101);
}

TEST_P(ThreadPoolOf, StopsWithoutEverHavingRun) { const ThreadPool pool(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolOf, testing::Values(1, 2, 4));

TEST(ThreadPoolDeathTest, NeedsAThread) { EXPECT_DEATH(ThreadPool(0), "threads = 0"); }

}  // namespace
}  // namespace filigree::kernels
