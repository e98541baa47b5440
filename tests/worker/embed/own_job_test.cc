#include "worker/embed/own_job.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "filigree/v1/coordinator.grpc.pb.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/status.h"

namespace filigree::embed {
namespace {

using Users = v1::Coordinator::Stub;

// A run of two ranks and somebody who looks at it.
class OwnJobTest : public testing::Test {
 protected:
  void SetUp() override {
    OwnJob::Options options;
    options.listen = "127.0.0.1:0";
    options.host = "here";
    options.spec.name = std::string("night");
    options.spec.data = 2;
    options.spec.min_data = 2;
    options.spec.backend = contract::Backend::kMpi;
    options.spec.restart_limit = contract::kNoRestart;
    auto started = OwnJob::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    own_ = *std::move(started);
    rpc::ChannelOptions to;
    to.address = own_->server().address();
    const auto channel = rpc::OpenChannel(to);
    ASSERT_TRUE(channel.ok()) << channel.status();
    users_ = v1::Coordinator::NewStub(*channel);
  }

  v1::Job Get() {
    v1::GetRequest request;
    request.set_job(own_->job());
    v1::Job job;
    grpc::ClientContext context;
    const grpc::Status status = users_->Get(&context, request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }

  // The job, as soon as it is in that state or after a while.
  v1::Job Await(v1::JobState state) {
    v1::Job job = Get();
    for (int tries = 0; tries < 400 && job.state() != state; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      job = Get();
    }
    EXPECT_EQ(job.state(), state) << job.reason();
    return job;
  }

  void BothRun(int64_t step) {
    for (const int rank : {0, 1}) {
      v1::TellRequest told;
      told.set_state(v1::RANK_STATE_RUNNING);
      told.mutable_progress()->set_step(step);
      if (rank == 0) told.mutable_figures()->set_train_loss(2.5);
      own_->Hear(rank, told);
    }
  }

  std::unique_ptr<OwnJob> own_;
  std::unique_ptr<Users> users_;
};

TEST_F(OwnJobTest, IsPlacedRunsAndIsDone) {
  EXPECT_EQ(own_->job(), "night-1");
  BothRun(7);
  const v1::Job job = Await(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job.ranks_size(), 2);
  EXPECT_EQ(job.ranks(1).step(), 7);
  EXPECT_FALSE(own_->Drained());
  own_->End(v1::RANK_STATE_FINISHED, "");
  EXPECT_EQ(Get().state(), v1::JOB_STATE_DONE);
  EXPECT_FALSE(own_->Drained());
}

TEST_F(OwnJobTest, WhoeverDrainsItIsHeardAndSeesItStop) {
  BothRun(7);
  Await(v1::JOB_STATE_RUNNING);
  v1::DrainRequest drain;
  drain.set_job(own_->job());
  v1::DrainReply ignored;
  grpc::ClientContext context;
  ASSERT_TRUE(users_->Drain(&context, drain, &ignored).ok());
  for (int tries = 0; tries < 400 && !own_->Drained(); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(own_->Drained());
  EXPECT_FALSE(own_->Cancelled());
  own_->End(v1::RANK_STATE_STOPPED, "");
  EXPECT_EQ(Get().state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(OwnJobTest, WhoeverCancelsItIsHeard) {
  BothRun(7);
  Await(v1::JOB_STATE_RUNNING);
  v1::CancelRequest cancel;
  cancel.set_job(own_->job());
  v1::CancelReply ignored;
  grpc::ClientContext context;
  ASSERT_TRUE(users_->Cancel(&context, cancel, &ignored).ok());
  for (int tries = 0; tries < 400 && !own_->Cancelled(); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(own_->Cancelled());
}

TEST_F(OwnJobTest, ARunThatFailsIsNotStartedAgain) {
  BothRun(7);
  Await(v1::JOB_STATE_RUNNING);
  own_->End(v1::RANK_STATE_FAILED, "the corpus is gone");
  const v1::Job job = Get();
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_NE(job.reason().find("the corpus is gone"), std::string::npos) << job.reason();
}

TEST_F(OwnJobTest, ARunThatIsStoppedByASignalWasDrained) {
  BothRun(7);
  Await(v1::JOB_STATE_RUNNING);
  own_->End(v1::RANK_STATE_STOPPED, "");
  EXPECT_EQ(Get().state(), v1::JOB_STATE_CANCELLED);
}

TEST(OwnJob, ListensOnLoopbackAlone) {
  OwnJob::Options options;
  options.listen = "0.0.0.0:0";
  options.host = "here";
  options.spec.name = std::string("night");
  EXPECT_EQ(OwnJob::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace filigree::embed
