#include "kernels/base/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "kernels/base/thread_pool.h"

namespace filigree::kernels {
namespace {

// The trace is the whole process's: every test begins and ends with an empty one that is off.
class TraceTest : public testing::Test {
 protected:
  void SetUp() override { Reset(); }
  void TearDown() override { Reset(); }

 private:
  static void Reset() {
    StopTrace();
    TakeTrace();
  }
};

void Kernel(double flops) {
  const TraceSpan span("kernel", [&] { return TraceWork{.flops = flops, .bytes = 2 * flops}; });
}

TEST_F(TraceTest, OffRecordsNothingAndCountsNothing) {
  int asked = 0;
  {
    const TraceSpan span("kernel", [&] { return TraceWork{.flops = static_cast<double>(++asked)}; });
  }
  EXPECT_EQ(asked, 0);
  EXPECT_TRUE(TakeTrace().empty());
}

TEST_F(TraceTest, ASpanSaysWhatWhenAndHowMuch) {
  StartTrace();
  const int64_t before = TraceNow();
  Kernel(5);
  const int64_t after = TraceNow();
  StopTrace();
  const std::vector<ThreadTrace> trace = TakeTrace();
  ASSERT_EQ(trace.size(), 1u);
  ASSERT_EQ(trace[0].events.size(), 1u);
  const TraceEvent& event = trace[0].events[0];
  EXPECT_EQ(event.name, std::string("kernel"));
  EXPECT_EQ(event.work.flops, 5);
  EXPECT_EQ(event.work.bytes, 10);
  EXPECT_EQ(event.work.threads, 1);
  EXPECT_LE(before, event.start_ns);
  EXPECT_LE(event.start_ns, event.end_ns);
  EXPECT_LE(event.end_ns, after);
}

TEST_F(TraceTest, TimeOnACoreIsCountedApart) {
  constexpr int64_t kBusy = 1'000'000;
  StartTrace();
  {
    const TraceSpan span("kernel", [] { return TraceWork{}; });
    const int64_t start = TraceCpuNow();
    while (TraceCpuNow() - start < kBusy) continue;
  }
  EXPECT_GE(TakeTrace().at(0).events.at(0).cpu_ns, kBusy);
}

TEST_F(TraceTest, WorkIsCountedWhenTheKernelIsDone) {
  StartTrace();
  double found = 0;
  {
    const TraceSpan span("kernel", [&] { return TraceWork{.flops = found}; });
    found = 7;
  }
  EXPECT_EQ(TakeTrace().at(0).events.at(0).work.flops, 7);
}

TEST_F(TraceTest, SpansNestAndEndInsideOut) {
  StartTrace();
  {
    const TraceSpan outer("outer", [] { return TraceWork{}; });
    const TraceSpan inner("inner", [] { return TraceWork{}; });
  }
  const std::vector<ThreadTrace> trace = TakeTrace();
  ASSERT_EQ(trace.at(0).events.size(), 2u);
  const TraceEvent &inner = trace[0].events[0], &outer = trace[0].events[1];
  EXPECT_EQ(inner.name, std::string("inner"));
  EXPECT_LE(outer.start_ns, inner.start_ns);
  EXPECT_LE(inner.end_ns, outer.end_ns);
}

TEST_F(TraceTest, ASpanBegunBeforeTheStopIsWholeAndOneBegunBeforeTheStartIsNone) {
  {
    const TraceSpan early("early", [] { return TraceWork{}; });
    StartTrace();
  }
  {
    const TraceSpan late("late", [] { return TraceWork{}; });
    StopTrace();
  }
  const std::vector<ThreadTrace> trace = TakeTrace();
  ASSERT_EQ(trace.at(0).events.size(), 1u);
  EXPECT_EQ(trace[0].events[0].name, std::string("late"));
}

// Under the thread sanitizer this is also the proof that no lock is missing.
TEST_F(TraceTest, EverySpanOfAPoolIsFoundOnceItIsIdle) {
  constexpr int kTasks = 5000;
  ThreadPool pool(4);
  StartTrace();
  for (int round = 0; round < 3; ++round) {
    pool.Run(kTasks, [](int64_t task, int) { Kernel(static_cast<double>(task)); });
    std::map<double, int> seen;
    std::set<int> threads;
    for (const ThreadTrace& thread : TakeTrace()) {
      EXPECT_TRUE(threads.insert(thread.thread).second);
      int64_t last_end = 0;
      for (const TraceEvent& event : thread.events) {
        EXPECT_LE(last_end, event.start_ns);
        last_end = event.end_ns;
        ++seen[event.work.flops];
      }
    }
    EXPECT_LE(threads.size(), 4u);
    EXPECT_EQ(seen.size(), static_cast<size_t>(kTasks));
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& entry) { return entry.second == 1; }));
  }
}

TEST_F(TraceTest, WhatAThreadRecordedOutlivesIt) {
  StartTrace();
  std::thread([] { Kernel(1); }).join();
  std::thread([] { Kernel(2); }).join();
  const std::vector<ThreadTrace> trace = TakeTrace();
  ASSERT_EQ(trace.size(), 2u);
  EXPECT_NE(trace[0].thread, trace[1].thread);
  EXPECT_TRUE(TakeTrace().empty());
}

}  // namespace
}  // namespace filigree::kernels
