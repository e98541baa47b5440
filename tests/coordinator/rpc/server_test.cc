#include "coordinator/rpc/server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/rpc/rig.h"

// A real server and a real client on loopback.

namespace filigree::coordinator {
namespace {

using Users = v1::Coordinator::Stub;
using Workers = v1::Workers::Stub;

v1::Job Get(Rig& rig, const std::string& job) {
  v1::GetRequest request;
  request.set_job(job);
  auto reply = Call(rig.users, &Users::Get, request);
  EXPECT_TRUE(reply.ok()) << reply.status();
  return reply.ok() ? *reply : v1::Job();
}

std::string Submitted(Rig& rig, const v1::SubmitRequest& request) {
  const auto reply = Call(rig.users, &Users::Submit, request);
  EXPECT_TRUE(reply.ok()) << reply.status();
  return reply.ok() ? reply->job() : "";
}

// Submits and beats until all ranks run.
std::string Running(Rig& rig, FakeWorker& worker, const v1::SubmitRequest& request) {
  std::string job = Submitted(rig, request);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(worker.Beat().ok());
  EXPECT_EQ(Get(rig, job).state(), v1::JOB_STATE_RUNNING);
  return job;
}

TEST(Server, AJobRunsFromSubmissionToItsEnd) {
  Rig rig;
  FakeWorker worker(rig, "a", 2);
  v1::SubmitRequest request = Job("night", 2);
  request.mutable_spec()->set_config("[run]\nsteps = 3\n");
  const std::string job = Submitted(rig, request);
  EXPECT_EQ(job, "night-1");
  auto reply = worker.Beat();
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->assignments_size(), 1);
  const v1::Assignment& told = reply->assignments(0);
  EXPECT_EQ(told.action(), v1::ACTION_RUN);
  EXPECT_EQ(told.ranks_size(), 2);
  EXPECT_EQ(told.spec().config(), "[run]\nsteps = 3\n");
  EXPECT_EQ(told.data(), 2);
  EXPECT_TRUE(told.keep_processes());
  EXPECT_FALSE(told.has_resume());
  reply = worker.Beat();
  ASSERT_TRUE(reply.ok());
  EXPECT_FALSE(reply->assignments(0).has_spec());
  EXPECT_EQ(Get(rig, job).state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Get(rig, job).ranks(1).worker(), "a");

  v1::CommitCheckpointRequest commit;
  *commit.mutable_speaker() = worker.speaker();
  commit.set_job(job);
  commit.mutable_point()->set_generation(1);
  commit.mutable_point()->set_step(2);
  commit.mutable_point()->set_digest(kDigest);
  EXPECT_TRUE(Call(rig.workers, &Workers::CommitCheckpoint, commit).ok());
  EXPECT_TRUE(Call(rig.workers, &Workers::CommitCheckpoint, commit).ok());  // the answer was lost
  EXPECT_EQ(rig.journal.tables().LastCommit(job)->point.step, 2);
  commit.mutable_point()->set_step(1);
  EXPECT_TRUE(Says(Call(rig.workers, &Workers::CommitCheckpoint, commit).status(),
                   absl::StatusCode::kFailedPrecondition, "ascend"));
  commit.mutable_point()->set_step(9);
  commit.mutable_point()->set_generation(7);
  EXPECT_TRUE(Says(Call(rig.workers, &Workers::CommitCheckpoint, commit).status(),
                   absl::StatusCode::kFailedPrecondition, "stale"));

  for (v1::RankReport* rank : worker.Ranks(job)) rank->set_state(v1::RANK_STATE_FINISHED);
  ASSERT_TRUE(worker.Beat().ok());
  const v1::Job done = Get(rig, job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_DONE);
  EXPECT_EQ(done.last_commit().step(), 2);
  EXPECT_GT(done.ended_us(), 0);
}

TEST(Server, TwoSubmissionsWithOneKeyAreOneJob) {
  Rig rig;
  v1::SubmitRequest request = Job("night");
  request.mutable_spec()->set_idempotency_key("k");
  const auto first = Call(rig.users, &Users::Submit, request), second = Call(rig.users, &Users::Submit, request);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->job(), second->job());
  EXPECT_FALSE(first->repeated());
  EXPECT_TRUE(second->repeated());
  request.mutable_spec()->set_priority(3);
  EXPECT_TRUE(Says(Call(rig.users, &Users::Submit, request).status(), absl::StatusCode::kAlreadyExists, "priority"));
  EXPECT_EQ(rig.journal.tables().jobs().size(), 1u);
}

TEST(Server, NothingIsAnsweredThatTheJournalDoesNotHold) {
  std::atomic<int> troubles = 0;
  ServerOptions options = OnLoopback();
  options.hooks.on_kept = [&](const absl::Status& status) { troubles += status.ok() ? 0 : 1; };
  Rig rig(options);
  rig.journal.full = true;
  EXPECT_TRUE(
      Says(Call(rig.users, &Users::Submit, Job("night")).status(), absl::StatusCode::kUnavailable, "disk full"));
  EXPECT_EQ(troubles, 1);
  rig.journal.full = false;
  const std::string job = Submitted(rig, Job("night"));
  EXPECT_EQ(job, "night-1");  // the one before is nowhere
  const Tables kept = rig.journal.tables();
  rig.server->Look([&](const Core& core, Now) { EXPECT_EQ(Dump(core.tables()), Dump(kept)); });
}

TEST(Server, ARestartKeepsJobsAndRefusesWhatIsOver) {
  Rig rig;
  FakeWorker worker(rig, "a", 1);
  const std::string job = Running(rig, worker, Job("night"));
  rig.Restart();
  ASSERT_TRUE(worker.Beat().ok());  // twice: once to learn of the new epoch
  EXPECT_EQ(worker.beat.epoch(), 2);
  EXPECT_EQ(Get(rig, job).state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Get(rig, job).generation(), 1);
  EXPECT_EQ(worker.starts, 1);
  v1::LeaveRequest leave;
  *leave.mutable_speaker() = worker.speaker();
  ASSERT_TRUE(Call(rig.workers, &Workers::Leave, leave).ok());
  EXPECT_EQ(worker.Beat().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Server, WatchTellsWhatHappensInOrderAndEndsWithTheJob) {
  Rig rig;
  FakeWorker worker(rig, "a", 1);
  const std::string job = Running(rig, worker, Job("night"));
  grpc::ClientContext context;
  v1::WatchRequest request;
  request.set_job(job);
  request.set_progress_ms(200);
  auto stream = rig.users->Watch(&context, request);
  v1::WatchReply reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.job().state(), v1::JOB_STATE_RUNNING);
  v1::RankReport& rank = *worker.Ranks(job)[0];
  rank.mutable_progress()->set_step(17);
  ASSERT_TRUE(worker.Beat().ok());
  int64_t step = 0;
  while (step < 17 && stream->Read(&reply)) step = reply.progress().step();
  EXPECT_EQ(step, 17);
  rank.set_state(v1::RANK_STATE_FINISHED);
  ASSERT_TRUE(worker.Beat().ok());
  v1::Event last;
  while (stream->Read(&reply))
    if (reply.has_event()) last = reply.event();
  EXPECT_EQ(last.to(), v1::JOB_STATE_DONE);
  EXPECT_TRUE(stream->Finish().ok());

  // A job that has ended is told once.
  grpc::ClientContext again;
  stream = rig.users->Watch(&again, request);
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.job().state(), v1::JOB_STATE_DONE);
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(Server, WatchOfAnUnknownJobIsNotFound) {
  Rig rig;
  grpc::ClientContext context;
  v1::WatchRequest request;
  request.set_job("none-1");
  const auto stream = rig.users->Watch(&context, request);
  v1::WatchReply reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(Server, AReaderThatReadsNothingIsDroppedWithWords) {
  ServerOptions options = OnLoopback();
  options.limits.watch_queue = 4;
  Rig rig(options);
  // A connection of its own that takes no more ahead than it must.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 10);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto narrow = v1::Coordinator::NewStub(
      grpc::CreateCustomChannel(rig.server->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto stream = narrow->Watch(&context, {});
  // Events until gRPC's own buffers and the queue are full.
  v1::SubmitRequest request = Job(std::string(48, 'x'));
  bool dropped = false;
  for (int i = 0; i < 5000 && !dropped; ++i) {
    const std::string job = Submitted(rig, request);
    v1::CancelRequest cancel;
    cancel.set_job(job);
    ASSERT_TRUE(Call(rig.users, &Users::Cancel, cancel).ok());
    dropped = rig.server->watchers_dropped() > 0;
  }
  EXPECT_TRUE(dropped);
  v1::WatchReply reply;
  int read = 0;
  while (stream->Read(&reply)) ++read;
  const grpc::Status end = stream->Finish();
  EXPECT_GT(read, 0);
  EXPECT_EQ(end.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << end.error_message();
  EXPECT_NE(end.error_message().find("watch again"), std::string::npos);
}

TEST(Server, RanksOfAGenerationFindEachOther) {
  Rig rig;
  FakeWorker a(rig, "a", 1), b(rig, "b", 1), c(rig, "c", 1);
  ASSERT_TRUE(a.Beat().ok() && b.Beat().ok());  // who has not been heard gets no ranks
  const std::string job = Submitted(rig, Job("night", 2));
  v1::SetKeyRequest set;
  *set.mutable_speaker() = a.speaker();
  set.set_job(job);
  set.set_generation(1);
  set.set_key(std::string("nccl\0id", 7));  // any bytes
  set.set_value(std::string(128, '\xff'));
  v1::GetKeyRequest get;
  *get.mutable_speaker() = b.speaker();
  get.set_job(job);
  get.set_generation(1);
  get.set_key(set.key());
  get.set_wait_us(15'000'000);
  auto waiting = std::async(std::launch::async, [&] { return Call(rig.workers, &Workers::GetKey, get); });
  EXPECT_TRUE(Call(rig.workers, &Workers::SetKey, set).ok());
  const auto got = waiting.get();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->value(), set.value());
  EXPECT_TRUE(Call(rig.workers, &Workers::SetKey, set).ok());
  set.set_value("another");
  EXPECT_EQ(Call(rig.workers, &Workers::SetKey, set).status().code(), absl::StatusCode::kAlreadyExists);
  *set.mutable_speaker() = c.speaker();
  EXPECT_EQ(Call(rig.workers, &Workers::SetKey, set).status().code(), absl::StatusCode::kPermissionDenied);
  get.set_key("never");
  get.set_wait_us(30'000);
  EXPECT_TRUE(Says(Call(rig.workers, &Workers::GetKey, get).status(), absl::StatusCode::kDeadlineExceeded, "never"));

  // Who waits when the generation ends is told.
  get.set_wait_us(15'000'000);
  waiting = std::async(std::launch::async, [&] { return Call(rig.workers, &Workers::GetKey, get); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // either way it ends the same
  v1::CancelRequest cancel;
  cancel.set_job(job);
  ASSERT_TRUE(Call(rig.users, &Users::Cancel, cancel).ok());
  EXPECT_TRUE(a.Beat().ok() && b.Beat().ok());
  EXPECT_TRUE(Says(waiting.get().status(), absl::StatusCode::kFailedPrecondition, "has ended"));
}

v1::SendLogRequest Printed(const FakeWorker& worker, const std::string& job, int64_t offset, const std::string& text) {
  v1::SendLogRequest request;
  *request.mutable_speaker() = worker.speaker();
  v1::LogPart& part = *request.add_parts();
  part.set_job(job);
  part.set_generation(1);
  part.set_offset(offset);
  part.set_text(text);
  return request;
}

TEST(Server, WhatRanksPrintIsReadWhileTheyRunAndAfter) {
  ServerOptions options = OnLoopback();
  options.limits.log_linger = std::chrono::milliseconds(1500);
  Rig rig(options);
  FakeWorker worker(rig, "a", 1);
  const std::string job = Running(rig, worker, Job("night"));
  ASSERT_TRUE(Call(rig.workers, &Workers::SendLog, Printed(worker, job, 0, "one\n")).ok());
  v1::ReadLogRequest request;
  request.set_job(job);
  request.set_follow(true);
  grpc::ClientContext context;
  auto stream = rig.users->ReadLog(&context, request);
  v1::ReadLogReply reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.parts(0).text(), "one\n");
  EXPECT_TRUE(reply.caught_up());
  ASSERT_TRUE(Call(rig.workers, &Workers::SendLog, Printed(worker, job, 4, "two\n")).ok());
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.parts(0).text(), "two\n");
  EXPECT_EQ(reply.parts(0).offset(), 4);
  worker.Ranks(job)[0]->set_state(v1::RANK_STATE_FINISHED);
  ASSERT_TRUE(worker.Beat().ok());
  ASSERT_EQ(Get(rig, job).state(), v1::JOB_STATE_DONE);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // a few ticks
  ASSERT_TRUE(Call(rig.workers, &Workers::SendLog, Printed(worker, job, 8, "last words\n")).ok());
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.parts(0).text(), "last words\n");
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());

  grpc::ClientContext again;
  stream = rig.users->ReadLog(&again, request);
  std::string all;
  while (stream->Read(&reply))
    for (const v1::LogPart& part : reply.parts()) all += part.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(all, "one\ntwo\nlast words\n");
}

TEST(Server, ALongLogComesInPortionsAndWhole) {
  ServerOptions options = OnLoopback();
  options.limits.log_rank_bytes = options.limits.log_job_bytes = 4 << 20;
  options.limits.log_batch_bytes = 10'000;
  options.limits.log_queue = 2;
  Rig rig(options);
  FakeWorker worker(rig, "a", 1);
  const std::string job = Running(rig, worker, Job("night"));
  std::string printed;
  for (int i = 0; i < 40; ++i) {
    const std::string text(9'000, static_cast<char>('a' + i % 26));
    const auto offset = static_cast<int64_t>(printed.size());
    ASSERT_TRUE(Call(rig.workers, &Workers::SendLog, Printed(worker, job, offset, text)).ok());
    printed += text;
  }
  v1::ReadLogRequest request;
  request.set_job(job);
  grpc::ClientContext context;
  const auto stream = rig.users->ReadLog(&context, request);
  std::string all;
  int replies = 0;
  for (v1::ReadLogReply reply; stream->Read(&reply); ++replies)
    for (const v1::LogPart& part : reply.parts()) all += part.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(all == printed);
  EXPECT_GE(replies, 40);
}

TEST(Server, LogsOfUnknownJobsAndOfTooManyReadersAreRefused) {
  ServerOptions options = OnLoopback();
  options.limits.log_readers = 1;
  Rig rig(options);
  const auto ends = [&](const std::string& job) {
    grpc::ClientContext context;
    v1::ReadLogRequest request;
    request.set_job(job);
    const auto stream = rig.users->ReadLog(&context, request);
    v1::ReadLogReply reply;
    while (stream->Read(&reply)) continue;
    return stream->Finish().error_code();
  };
  EXPECT_EQ(ends("none-1"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ends("a/b"), grpc::StatusCode::INVALID_ARGUMENT);
  const std::string job = Submitted(rig, Job("night"));
  grpc::ClientContext context;
  v1::ReadLogRequest request;
  request.set_job(job);
  request.set_follow(true);
  const auto first = rig.users->ReadLog(&context, request);
  v1::ReadLogReply reply;
  ASSERT_TRUE(first->Read(&reply));
  EXPECT_EQ(ends(job), grpc::StatusCode::RESOURCE_EXHAUSTED);
  context.TryCancel();
  while (first->Read(&reply)) continue;
  first->Finish();
  EXPECT_TRUE(Eventually([&] { return ends(job) == grpc::StatusCode::OK; }));
}

TEST(Server, ANudgeComesBeforeTheNextHeartbeatIsDue) {
  Rig rig;
  FakeWorker worker(rig, "a", 1);
  ASSERT_TRUE(worker.Beat().ok());
  v1::AwaitNewsRequest request;
  *request.mutable_speaker() = worker.speaker();
  request.set_wait_us(20'000);
  auto reply = Call(rig.workers, &Workers::AwaitNews, request);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_FALSE(reply->news());
  request.set_wait_us(15'000'000);
  auto waiting = std::async(std::launch::async, [&] { return Call(rig.workers, &Workers::AwaitNews, request); });
  Submitted(rig, Job("night"));
  reply = waiting.get();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->news());
}

TEST(Server, StopAnswersAllWhoWait) {
  Rig rig;
  FakeWorker worker(rig, "a", 1);
  ASSERT_TRUE(worker.Beat().ok());
  const std::string job = Submitted(rig, Job("night"));
  v1::GetKeyRequest get;
  *get.mutable_speaker() = worker.speaker();
  get.set_job(job);
  get.set_generation(1);
  get.set_key("k");
  get.set_wait_us(15'000'000);
  auto waiting = std::async(std::launch::async, [&] { return Call(rig.workers, &Workers::GetKey, get); });
  grpc::ClientContext context;
  const auto stream = rig.users->Watch(&context, {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  rig.server->Stop();
  EXPECT_EQ(waiting.get().status().code(), absl::StatusCode::kUnavailable);
  v1::WatchReply reply;
  while (stream->Read(&reply)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Server, ListsPageByPageTheLatestFirst) {
  Rig rig;
  FakeWorker a(rig, "a", 4), b(rig, "b", 4);
  v1::SubmitRequest request = Job("many");
  request.mutable_spec()->set_config("x = 1");
  for (int i = 0; i < 5; ++i) Submitted(rig, request);
  v1::CancelRequest cancel;
  cancel.set_job("many-2");
  ASSERT_TRUE(Call(rig.users, &Users::Cancel, cancel).ok());
  ASSERT_TRUE(a.Beat().ok() && b.Beat().ok());
  v1::ListRequest list;
  list.set_limit(2);
  list.set_ended(true);
  std::vector<std::string> ids;
  for (bool more = true; more;) {
    const auto page = Call(rig.users, &Users::List, list);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::Job& job : page->jobs()) {
      ids.push_back(job.id());
      EXPECT_TRUE(job.spec().config().empty());
    }
    more = page->more();
    if (more) list.set_before_number(page->jobs(page->jobs_size() - 1).number());
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"many-5", "many-4", "many-3", "many-2", "many-1"}));
  v1::ListWorkersRequest workers;
  workers.set_limit(1);
  auto page = Call(rig.users, &Users::ListWorkers, workers);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->workers(0).name(), "a");
  EXPECT_TRUE(page->more());
  workers.set_after("a");
  page = Call(rig.users, &Users::ListWorkers, workers);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->workers(0).name(), "b");
  EXPECT_FALSE(page->more());
}

// Bytes that are no message, or too many: the call fails, the server lives.
TEST(Server, MalformedAndOversizedMessagesAreRefused) {
  Rig rig;
  const auto send = [&](const std::string& bytes) {
    return SendBytes(rig.channel, "/filigree.v1.Workers/Heartbeat", bytes);
  };
  EXPECT_FALSE(send("\xff\xff\xff\xff").ok());
  EXPECT_FALSE(send(std::string("\x0a\x7f", 2)).ok());  // a length beyond the end
  v1::HeartbeatRequest large;
  large.mutable_speaker()->set_worker(std::string(9 << 20, 'a'));
  EXPECT_EQ(send(large.SerializeAsString()).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(send("").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Submitted(rig, Job("alive")), "alive-1");
}

TEST(Server, APortThatIsTakenIsSaid) {
  Rig rig;
  ServerOptions options = OnLoopback();
  options.address = rig.server->address();
  MemoryJournal other;
  const auto second = Server::Start(options, other.tables(), other.keep());
  EXPECT_TRUE(Says(second.status(), absl::StatusCode::kUnavailable, options.address));
}

// Many clients at once: every answered submission is in the journal, none twice.
TEST(Server, ManyClientsAtOnce) {
  Rig rig;
  constexpr int kClients = 8, kEach = 50;
  std::mutex mutex;
  std::set<std::string> jobs;
  std::vector<std::thread> clients;
  clients.reserve(kClients);
  for (int c = 0; c < kClients; ++c)
    clients.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        const std::string job = Submitted(rig, Job("many"));
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(jobs.insert(job).second) << job;
      }
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(jobs.size(), static_cast<size_t>(kClients * kEach));
  EXPECT_EQ(rig.journal.tables().jobs().size(), jobs.size());
}

}  // namespace
}  // namespace filigree::coordinator
