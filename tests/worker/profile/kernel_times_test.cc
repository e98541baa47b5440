// From spans that are made up to sums that are formed by hand.

#include "worker/profile/kernel_times.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace filigree::train {
namespace {

using kernels::ThreadTrace;
using kernels::TraceEvent;
using kernels::TraceLevel;
using kernels::TraceWork;

constexpr int64_t kSecond = 1'000'000'000;

// 4 threads on 2 cores.
machine::Machine SomeMachine() {
  machine::Machine machine;
  machine.threads = 4;
  machine.processor.cores = 2;
  machine.core_gflops = 100;
  machine.all_gflops = 200;
  machine.core_l2_gbps = 80;
  machine.all_dram_gbps = 20;
  machine.all_update_gbps = 24;
  return machine;
}

TraceEvent Event(const char* name, int64_t start, int64_t end, TraceWork work = {}) {
  return {name, start * kSecond, end * kSecond, (end - start) * kSecond, work};
}

TEST(KernelTimesTest, CallsOfAllThreadsAreAddedAndTheLongestComesFirst) {
  const std::vector<ThreadTrace> trace = {
      {0, {Event("a", 0, 1, {.flops = 1}), Event("b", 1, 4, {.bytes = 5}), Event("a", 4, 5, {.flops = 2})}},
      {7, {Event("a", 0, 2, {.flops = 4})}},
      {8, {Event("c", 0, 1)}},
  };
  const std::vector<KernelTime> times = SumKernels(trace, SomeMachine());
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].name, "a");
  EXPECT_EQ(times[0].calls, 3);
  EXPECT_DOUBLE_EQ(times[0].seconds, 4);
  EXPECT_DOUBLE_EQ(times[0].flops, 7);
  EXPECT_EQ(times[1].name, "b");
  EXPECT_DOUBLE_EQ(times[1].seconds, 3);
  EXPECT_DOUBLE_EQ(times[1].bytes, 5);
  EXPECT_EQ(times[2].name, "c");
}

TEST(KernelTimesTest, ACallOfAPoolTakesTheTimeOfItsThreads) {
  const std::vector<KernelTime> times = SumKernels({{0, {Event("a", 0, 2, {.threads = 4})}}}, SomeMachine());
  EXPECT_DOUBLE_EQ(times.at(0).seconds, 8);
}

TEST(KernelTimesTest, WhatOtherProgramsTookIsNoTimeOfAKernel) {
  TraceEvent event = Event("a", 0, 5, {.flops = 100e9, .threads = 2});
  event.cpu_ns = 2 * kSecond;
  const std::vector<KernelTime> times = SumKernels({{0, {event}}}, SomeMachine());
  EXPECT_DOUBLE_EQ(times.at(0).seconds, 4);
  EXPECT_DOUBLE_EQ(times.at(0).off_core_seconds, 6);
  EXPECT_DOUBLE_EQ(times.at(0).percent_of_roofline(), 50);
}

TEST(KernelTimesTest, WhatNestsCountsWithTheOuterSpanAlone) {
  // In the order in which spans end.
  const std::vector<ThreadTrace> trace = {{0,
                                           {Event("innermost", 1, 2), Event("inner", 1, 3), Event("inner", 3, 4),
                                            Event("outer", 0, 5), Event("next", 5, 6)}}};
  const std::vector<KernelTime> times = SumKernels(trace, SomeMachine());
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].name, "outer");
  EXPECT_DOUBLE_EQ(times[0].seconds, 5);
  EXPECT_EQ(times[1].name, "next");
  EXPECT_DOUBLE_EQ(times[1].seconds, 1);
}

TEST(KernelTimesTest, AThreadHasItsShareOfTheMachine) {
  const machine::Machine machine = SomeMachine();
  const auto least = [&](TraceWork work) { return LeastThreadSeconds(work, machine); };
  EXPECT_DOUBLE_EQ(least({.flops = 50e9}).seconds(), 1);                               // 200 GFLOP/s for four
  EXPECT_DOUBLE_EQ(least({.bytes = 40e9, .level = TraceLevel::kCache}).seconds(), 1);  // two threads share an L2
  EXPECT_DOUBLE_EQ(least({.bytes = 6e9, .level = TraceLevel::kMemory}).seconds(),
                   1);  // the better of 20 and 24, of four
  EXPECT_DOUBLE_EQ(least({.flops = 50e9, .bytes = 12e9, .level = TraceLevel::kMemory}).seconds(), 2);
}

TEST(KernelTimesTest, TheRooflineIsFormedCallByCallAndItsLongerSideNamed) {
  const std::vector<ThreadTrace> trace = {{0,
                                           {Event("a", 0, 4, {.flops = 100e9, .bytes = 1}),  // 2 s
                                            Event("a", 4, 8, {.bytes = 40e9}),               // 1 s
                                            Event("b", 8, 9, {.bytes = 20e9}),               // 0.5 s
                                            Event("c", 9, 11, {.bytes = 6e9, .level = TraceLevel::kMemory})}}};
  const std::vector<KernelTime> times = SumKernels(trace, SomeMachine());
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].bound, "arithmetic");
  EXPECT_DOUBLE_EQ(times[0].percent_of_roofline(), 100 * 3.0 / 8);
  EXPECT_EQ(times[1].name, "c");
  EXPECT_EQ(times[1].bound, "memory");
  EXPECT_DOUBLE_EQ(times[1].percent_of_roofline(), 50);
  EXPECT_EQ(times[2].bound, "l2");
}

TEST(KernelTimesTest, NothingOnRecordIsAnEmptyTable) { EXPECT_TRUE(SumKernels({}, SomeMachine()).empty()); }

}  // namespace
}  // namespace filigree::train
