#include "worker/agent/lease_guard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace filigree::agent {
namespace {

// A clock that the test turns, and how often the lease was over.
class GuardRig {
 public:
  std::atomic<int64_t> now_us = 1000;
  std::atomic<int> over = 0;
  LeaseGuard guard{[this] { ++over; }, [this] { return now_us.load(); }};

  // Within 10 s; the guard looks ten times a second.
  bool EventuallyOver(int times) {
    for (int i = 0; i < 2000 && over < times; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return over == times;
  }
};

TEST(LeaseGuard, EndsTheRanksWhenItIsOverAndNobodyAsks) {
  GuardRig rig;
  EXPECT_FALSE(rig.guard.Holds());
  EXPECT_TRUE(rig.guard.Begin(2000));
  EXPECT_TRUE(rig.guard.Holds());
  rig.now_us = 2000;
  EXPECT_TRUE(rig.EventuallyOver(1));
  EXPECT_FALSE(rig.guard.Holds());
}

TEST(LeaseGuard, OfTheRealClockTooAndNotBefore) {
  std::atomic<int> over = 0;
  LeaseGuard guard([&over] { ++over; });
  const int64_t until_us = NowUs() + 300'000;
  ASSERT_TRUE(guard.Begin(until_us));
  while (NowUs() < until_us - 20'000) EXPECT_EQ(over, 0);
  for (int i = 0; i < 2000 && over == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(over, 1);
}

TEST(LeaseGuard, ALateAnswerRenewsNothing) {
  GuardRig rig;
  EXPECT_TRUE(rig.guard.Begin(2000));
  EXPECT_TRUE(rig.guard.Renew(3000));
  rig.now_us = 2500;
  EXPECT_TRUE(rig.guard.Renew(3200));
  EXPECT_TRUE(rig.guard.Holds());
  rig.now_us = 3500;  // slept past it
  EXPECT_FALSE(rig.guard.Renew(9000));
  EXPECT_EQ(rig.over, 1);  // at once, by whoever asked
  rig.now_us = 2500;
  EXPECT_FALSE(rig.guard.Holds());
  EXPECT_FALSE(rig.guard.Renew(9000));
  EXPECT_EQ(rig.over, 1);
}

// Who was told of a long one by the process before would keep its ranks while this one places others.
TEST(LeaseGuard, ACoordinatorThatWasStartedAnewMayGiveShorterOnes) {
  GuardRig rig;
  EXPECT_TRUE(rig.guard.Begin(60'000));
  EXPECT_TRUE(rig.guard.Renew(5000));
  rig.now_us = 5000;
  EXPECT_TRUE(rig.EventuallyOver(1));
  EXPECT_FALSE(rig.guard.Holds());
}

TEST(LeaseGuard, SaysWhatIsLeft) {
  GuardRig rig;
  EXPECT_EQ(rig.guard.LeftUs(), 0);
  rig.guard.Begin(6000);
  EXPECT_EQ(rig.guard.LeftUs(), 5000);
  rig.now_us = 5999;
  EXPECT_EQ(rig.guard.LeftUs(), 1);
  rig.now_us = 6000;
  EXPECT_EQ(rig.guard.LeftUs(), 0);
  EXPECT_EQ(rig.over, 1);
}

TEST(LeaseGuard, ANewRegistrationBeginsAnother) {
  GuardRig rig;
  rig.guard.Begin(2000);
  rig.now_us = 2000;
  EXPECT_TRUE(rig.EventuallyOver(1));
  EXPECT_TRUE(rig.guard.Begin(4000));
  rig.now_us = 5000;
  EXPECT_TRUE(rig.EventuallyOver(2));
  EXPECT_FALSE(rig.guard.Begin(4500));  // answered when it was over already
  EXPECT_EQ(rig.over, 3);
}

TEST(LeaseGuard, ALeaseThatWasGivenBackCallsNobody) {
  GuardRig rig;
  rig.guard.Begin(2000);
  rig.guard.End();
  rig.now_us = 3000;
  EXPECT_FALSE(rig.guard.Holds());
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  EXPECT_EQ(rig.over, 0);
}

}  // namespace
}  // namespace filigree::agent
