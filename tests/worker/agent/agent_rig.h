#ifndef FILIGREE_TESTS_WORKER_AGENT_AGENT_RIG_H_
#define FILIGREE_TESTS_WORKER_AGENT_AGENT_RIG_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "filigree/v1/agent.grpc.pb.h"
#include "tests/coordinator/rpc/rig.h"
#include "tests/support/child_reports.h"
#include "tests/support/patience.h"
#include "worker/agent/agent.h"

// An agent, the coordinator's server in this process, and processes that speak as ranks do.

namespace filigree::agent {

using coordinator::Call;
using coordinator::Eventually;
using coordinator::Rig;
using Users = v1::Coordinator::Stub;

// A line of FAKE_RANK_JOURNAL.
struct Said {
  int pid = 0;
  int64_t generation = 0;
  int rank = 0;
  std::string what;
  int64_t step = 0;
};

class Agents : public testing::Test {
 protected:
  explicit Agents(coordinator::ServerOptions options = coordinator::OnLoopback())
      : rig(std::move(options)), folder_(testing::TempDir() + "agent_XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    setenv("FAKE_RANK_JOURNAL", (folder_ + "/said").c_str(), 1);
    setenv("FAKE_RANK_STEPS", "20", 1);
    setenv("FAKE_RANK_DO", "", 1);
  }
  ~Agents() override { EXPECT_TRUE(Stop().ok()); }

  void Start(int32_t slots, std::chrono::microseconds silence = std::chrono::seconds(15)) {
    AgentOptions options;
    options.name = "a";
    options.host = "host-a";
    options.slots = slots;
    options.folder = folder_;
    options.state = folder_ + "/state";
    options.program = FILIGREE_FAKE_RANK;
    options.coordinator.address = rig.server->address();
    options.grace = std::chrono::seconds(5);
    options.patience.lost_us = 500'000;
    options.patience.failed_us *= kPatience;
    options.patience.silence_us = silence.count();
    options.say = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      lines_ += line + "\n";
    };
    auto opened = Agent::Open(std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    agent_ = *std::move(opened);
    thread_ = std::thread([this] { ended_ = agent_->Run(); });
  }
  absl::Status Stop(bool now = false) {
    if (!thread_.joinable()) return ended_;
    agent_->Drain();
    if (now) agent_->StopNow();
    thread_.join();
    agent_.reset();
    return ended_;
  }

  std::string Submit(int32_t data, int32_t restart_limit = 3, v1::Backend backend = v1::BACKEND_GLOO) {
    v1::SubmitRequest request = coordinator::Job("night", data);
    request.mutable_spec()->set_restart_limit(restart_limit);
    request.mutable_spec()->set_backend(backend);
    request.mutable_spec()->set_config("[run]\n");
    const auto reply = Call(rig.users, &Users::Submit, request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? reply->job() : "";
  }
  v1::Job Get(const std::string& job) {
    v1::GetRequest request;
    request.set_job(job);
    const auto reply = Call(rig.users, &Users::Get, request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *reply : v1::Job();
  }
  v1::Job EndOf(const std::string& job) {
    v1::Job last;
    EXPECT_TRUE(Eventually([&] {
      last = Get(job);
      return last.state() == v1::JOB_STATE_DONE || last.state() == v1::JOB_STATE_FAILED ||
             last.state() == v1::JOB_STATE_CANCELLED;
    })) << v1::JobState_Name(last.state())
        << last.reason() << "\n"
        << lines();
    return last;
  }
  bool EventuallySaid(const std::string& what) {
    return Eventually([&] {
      for (const Said& line : Journal())
        if (line.what == what) return true;
      return false;
    });
  }

  std::vector<Said> Journal() const {
    std::vector<Said> all;
    std::ifstream file(folder_ + "/said");
    for (Said said; file >> said.pid >> said.generation >> said.rank >> said.what >> said.step;) all.push_back(said);
    return all;
  }
  // Which process was which rank of a generation.
  std::map<int, int> PidsOf(int64_t generation) const {
    std::map<int, int> pids;
    for (const Said& said : Journal())
      if (said.generation == generation && said.what == "takes") pids[said.rank] = said.pid;
    return pids;
  }
  std::string Text(const std::string& path) const {
    std::ifstream file(folder_ + "/" + path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::string lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

  const std::string& folder() const { return folder_; }

  Rig rig;

 private:
  std::string folder_;
  std::mutex mutex_;
  std::string lines_;  // guarded by mutex_
  std::unique_ptr<Agent> agent_;
  absl::Status ended_;
  std::thread thread_;
};

// A coordinator that answers in seconds what takes a lease.
inline coordinator::ServerOptions WithShortLease() {
  coordinator::ServerOptions options = coordinator::OnLoopback();
  options.core.lease_us = 1'500'000;
  options.core.lease_margin_us = 150'000;
  options.core.heartbeat_us = 300'000;
  return options;
}

class ShortLease : public Agents {
 protected:
  ShortLease() : Agents(WithShortLease()) {}
};

}  // namespace filigree::agent

#endif  // FILIGREE_TESTS_WORKER_AGENT_AGENT_RIG_H_
