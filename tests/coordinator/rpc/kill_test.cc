#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/rpc/coordinator_process.h"
#include "tests/coordinator/rpc/rig.h"
#include "tests/support/child_reports.h"

// The coordinator's process is killed at any moment, and another one goes on with its journal.

namespace filigree::coordinator {
namespace {

using Users = v1::Coordinator::Stub;
using Workers = v1::Workers::Stub;
using Clock = std::chrono::steady_clock;

constexpr unsigned kSeed = 20'260'1129;
constexpr int kRounds = 5, kSubmitters = 4;

v1::SubmitRequest WithKey(const std::string& key) {
  v1::SubmitRequest request = Job("many");
  request.mutable_spec()->set_idempotency_key(key);
  request.mutable_spec()->set_priority(-1);  // the job that runs is not to wait for these
  return request;
}

// Submits until told to stop; what was answered, by key.
void SubmitUntil(Peer& peer, const std::atomic<bool>& stop, const std::string& prefix, std::mutex& mutex,
                 std::map<std::string, std::string>& answered) {
  for (int i = 0; !stop; ++i) {
    const std::string key = prefix + std::to_string(i);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    v1::SubmitReply reply;
    if (!peer.users->Submit(&context, WithKey(key), &reply).ok()) continue;
    const std::lock_guard lock(mutex);
    answered[key] = reply.job();
  }
}

// Kills the process while submissions are under way, some milliseconds after they began.
std::map<std::string, std::string> KillUnderLoad(CoordinatorProcess& process, Peer& peer, int round,
                                                 std::chrono::milliseconds after) {
  std::atomic<bool> stop = false;
  std::mutex mutex;
  std::map<std::string, std::string> answered;
  std::vector<std::thread> submitters;
  submitters.reserve(kSubmitters);
  for (int s = 0; s < kSubmitters; ++s) {
    const std::string prefix = fmt::format("r{}-s{}-", round, s);
    submitters.emplace_back([&, prefix] { SubmitUntil(peer, stop, prefix, mutex, answered); });
  }
  std::this_thread::sleep_for(after);
  process.Kill();
  stop = true;
  for (std::thread& submitter : submitters) submitter.join();
  return answered;
}

TEST(Kill, WhatWasAnsweredIsThereAndNothingStartsTwice) {
  std::mt19937 dice(kSeed);
  std::string folder = testing::TempDir() + "kill_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  CoordinatorProcess process(folder + "/journal.db");
  ASSERT_TRUE(process.Start()) << process.said;
  Peer peer;
  rpc::ChannelOptions client;
  client.address = process.address;
  peer.Connect(client);
  FakeWorker worker(peer, "a", 2);
  ASSERT_TRUE(worker.Beat().ok());
  const auto night = Call(peer.users, &Users::Submit, Job("night", 2));
  ASSERT_TRUE(night.ok()) << night.status();
  ASSERT_TRUE(worker.Beat().ok() && worker.Beat().ok());
  EXPECT_EQ(worker.starts, 2);

  std::map<std::string, std::string> answered;
  for (int round = 0; round < kRounds; ++round) {
    const std::chrono::milliseconds after(30 + dice() % 150);
    answered.merge(KillUnderLoad(process, peer, round, after));
    const auto killed = Clock::now();
    ASSERT_TRUE(process.Start()) << process.said;
    // The worker's next heartbeat finds the new process; its ranks went on all the time.
    const auto beat = worker.Beat();
    ASSERT_TRUE(beat.ok()) << beat.status();
    const auto away = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - killed);
    std::printf("round %d: killed after %d ms, %zu answers so far, away for %d ms\n", round,
                static_cast<int>(after.count()), answered.size(), static_cast<int>(away.count()));
    v1::GetRequest get;
    get.set_job(night->job());
    const auto job = Call(peer.users, &Users::Get, get);
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_EQ(job->state(), v1::JOB_STATE_RUNNING) << job->reason();
    EXPECT_EQ(job->generation(), 1);
    EXPECT_EQ(worker.starts, 2);
    v1::CommitCheckpointRequest commit;
    *commit.mutable_speaker() = worker.speaker();
    commit.set_job(night->job());
    commit.mutable_point()->set_generation(1);
    commit.mutable_point()->set_step(round + 1);
    commit.mutable_point()->set_digest(kDigest);
    EXPECT_TRUE(Call(peer.workers, &Workers::CommitCheckpoint, commit).ok());
  }
  ASSERT_FALSE(answered.empty());
  // Every answer still holds: the same key is the same job, and no job has two.
  std::map<std::string, std::string> key_of;
  for (const auto& [key, job] : answered) {
    EXPECT_TRUE(key_of.emplace(job, key).second) << job << " was answered to " << key << " and " << key_of[job];
    const auto again = Call(peer.users, &Users::Submit, WithKey(key));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated()) << key;
    EXPECT_EQ(again->job(), job) << key;
  }
}

}  // namespace
}  // namespace filigree::coordinator
