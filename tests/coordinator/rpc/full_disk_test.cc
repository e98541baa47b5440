#include <gtest/gtest.h>

#include <string>

#include "tests/coordinator/rpc/rig.h"

// While nothing can be kept: what needs no row goes on.

namespace filigree::coordinator {
namespace {

using Users = v1::Coordinator::Stub;
using Workers = v1::Workers::Stub;

// It says that a rank has ended, which is to be kept; its other ranks must not be lost for that.
TEST(FullDisk, AHeartbeatThatNeedsARowStillRenewsItsLeaseAndIsSaidAgain) {
  Rig rig;
  FakeWorker worker(rig, "a", 2);
  std::string jobs[2];
  for (std::string& job : jobs) {
    const auto reply = Call(rig.users, &Users::Submit, Job("night"));
    ASSERT_TRUE(reply.ok()) << reply.status();
    job = reply->job();
  }
  ASSERT_TRUE(Eventually([&] {
    EXPECT_TRUE(worker.Beat().ok());
    return worker.Ranks(jobs[0]).size() == 1 && worker.Ranks(jobs[1]).size() == 1;
  }));
  ASSERT_TRUE(worker.Beat().ok());
  rig.journal.full = true;
  worker.Ranks(jobs[0]).front()->set_state(v1::RANK_STATE_FINISHED);
  for (int i = 0; i < 3; ++i) {
    worker.beat.set_sequence(worker.beat.sequence() + 1);
    const auto reply = Call(rig.workers, &Workers::Heartbeat, worker.beat);
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_TRUE(reply->again());
    EXPECT_EQ(reply->epoch(), worker.beat.epoch());
    EXPECT_GT(reply->lease_us(), 0);
    EXPECT_EQ(reply->assignments_size(), 0);
  }
  rig.server->Look([&](const Core& core, Now now) {
    EXPECT_EQ(core.tables().FindJob(jobs[0])->state, JobState::kRunning) << "what was not kept has not happened";
    EXPECT_GT(core.memory().leases.Find("a")->until_us, now.monotonic_us);
  });
  rig.journal.full = false;
  ASSERT_TRUE(worker.Beat().ok());
  rig.server->Look([&](const Core& core, Now) {
    EXPECT_EQ(core.tables().FindJob(jobs[0])->state, JobState::kDone);
    EXPECT_EQ(core.tables().FindJob(jobs[1])->state, JobState::kRunning);
  });
}

}  // namespace
}  // namespace filigree::coordinator
