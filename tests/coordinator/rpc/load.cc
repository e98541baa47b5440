// How many workers one coordinator serves: starts `filigree coordinator`, lets N workers heartbeat with telemetry of a
// job that all of them run, and prints latencies as the workers see them and the memory of the coordinator.
//
//   coordinator_rpc_load --workers 1024 --seconds 30 [--connections N] [--period-ms 1000]
//
// A heartbeat is due at its time whether or not the one before was answered late, and its latency counts from then, so
// that a coordinator that falls behind cannot hide it. Exit code 1: a call failed, or not all heartbeats were answered.

#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "filigree/v1/coordinator.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "tests/coordinator/rpc/coordinator_process.h"

namespace filigree::coordinator {
namespace {

using Clock = std::chrono::steady_clock;

struct LoadOptions {
  int workers = 1024, connections = 0, seconds = 30, period_ms = 1000;
};

// What all workers share.
struct Tally {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<double> milliseconds;  // of heartbeats, once measuring
  int open = 0;                      // calls under way
  int failed = 0;
  std::string first_failure;
  std::atomic<bool> measuring = false;

  void Fail(const grpc::Status& status) {
    if (failed++ == 0) first_failure = std::to_string(status.error_code()) + ": " + status.error_message();
  }
};

std::chrono::system_clock::time_point In20Seconds() {
  return std::chrono::system_clock::now() + std::chrono::seconds(20);
}

// One worker with one rank.
class LoadWorker {
 public:
  LoadWorker(int number, const std::shared_ptr<grpc::Channel>& channel, Tally& tally)
      : number_(number), stub_(v1::Workers::NewStub(channel)), tally_(tally) {}

  bool Register() {
    v1::RegisterRequest request;
    request.set_name("worker-" + std::to_string(number_));
    request.set_host("host-" + std::to_string(number_ / 8));
    request.set_slots(1);
    request.set_nonce("n");
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::RegisterReply reply;
    const grpc::Status status = stub_->Register(&context, request, &reply);
    if (!status.ok()) {
      const std::lock_guard lock(tally_.mutex);
      tally_.Fail(status);
      return false;
    }
    beat_.mutable_speaker()->set_worker(request.name());
    beat_.mutable_speaker()->set_incarnation(reply.incarnation());
    beat_.set_epoch(reply.epoch());
    return true;
  }

  // Sends the heartbeat that was due at `due`, unless the last one is still on its way: then it counts as late.
  void Beat(Clock::time_point due) {
    {
      const std::lock_guard lock(tally_.mutex);
      if (under_way_) return;
      under_way_ = true;
      ++tally_.open;
    }
    beat_.set_sequence(beat_.sequence() + 1);
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(In20Seconds());
    reply_.Clear();
    stub_->async()->Heartbeat(context_.get(), &beat_, &reply_,
                              [this, due](const grpc::Status& status) { Answered(due, status); });
  }

  bool running() const { return running_; }

 private:
  void Answered(Clock::time_point due, const grpc::Status& status) {
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - due).count();
    if (status.ok()) Follow();
    const std::lock_guard lock(tally_.mutex);
    if (!status.ok()) tally_.Fail(status);
    if (tally_.measuring) tally_.milliseconds.push_back(ms);
    under_way_ = false;
    --tally_.open;
    tally_.changed.notify_all();
  }

  // Every heartbeat tells of one more step.
  void Follow() {
    beat_.set_epoch(reply_.epoch());
    if (reply_.assignments_size() == 0) return;
    const v1::Assignment& assignment = reply_.assignments(0);
    if (beat_.ranks_size() == 0) {
      v1::RankReport& rank = *beat_.add_ranks();
      rank.set_job(assignment.job());
      rank.set_generation(assignment.generation());
      rank.set_rank(assignment.ranks(0));
      rank.set_state(v1::RANK_STATE_RUNNING);
      running_ = true;
    }
    v1::RankProgress& progress = *beat_.mutable_ranks(0)->mutable_progress();
    progress.set_step(progress.step() + 1);
    progress.set_sent_bytes(progress.sent_bytes() + 1'000'000);
    v1::PhaseSeconds& seconds = *progress.mutable_seconds();
    const double slower = number_ == 7 ? 3 : 1;
    seconds.set_data(seconds.data() + 0.01);
    seconds.set_forward(seconds.forward() + 0.2 * slower);
    seconds.set_backward(seconds.backward() + 0.4);
    seconds.set_exchange(seconds.exchange() + 0.1);
    seconds.set_optimizer(seconds.optimizer() + 0.05);
    seconds.set_topk(seconds.topk() + 0.05);
  }

  const int number_;
  const std::unique_ptr<v1::Workers::Stub> stub_;
  Tally& tally_;
  v1::HeartbeatRequest beat_;
  v1::HeartbeatReply reply_;
  std::unique_ptr<grpc::ClientContext> context_;
  bool under_way_ = false;  // guarded by the tally's mutex
  std::atomic<bool> running_ = false;
};

double MemoryMiB(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  while (file >> word)
    if (word == "VmHWM:") {
      double kib = 0;
      file >> kib;
      return kib / 1024;
    }
  return 0;
}

double CpuSeconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string word;
  double ticks = 0;
  for (int field = 1; file >> word; ++field)
    if (field == 14 || field == 15) ticks += std::stod(word);
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// All workers heartbeat for so long, spread evenly over each period.
void BeatFor(std::vector<std::unique_ptr<LoadWorker>>& workers, const LoadOptions& options, int seconds) {
  const auto begin = Clock::now();
  const auto period = std::chrono::duration<double>(options.period_ms / 1000.0);
  const auto count = static_cast<double>(workers.size());
  const auto total = static_cast<int64_t>(count * seconds * 1000 / options.period_ms);
  for (int64_t i = 0; i < total; ++i) {
    const auto due = begin + std::chrono::duration_cast<Clock::duration>(period * (static_cast<double>(i) / count));
    std::this_thread::sleep_until(due);
    workers[static_cast<size_t>(i) % workers.size()]->Beat(due);
  }
}

// Several at a time, as they come when a cluster is switched on; then one heartbeat each.
void RegisterAll(std::vector<std::unique_ptr<LoadWorker>>& workers) {
  constexpr size_t kAtATime = 16;
  std::vector<std::thread> threads;
  threads.reserve(kAtATime);
  for (size_t t = 0; t < kAtATime; ++t)
    threads.emplace_back([&workers, t] {
      for (size_t i = t; i < workers.size() && workers[i]->Register(); i += kAtATime) workers[i]->Beat(Clock::now());
    });
  for (std::thread& thread : threads) thread.join();
}

void WaitForAnswers(Tally& tally) {
  std::unique_lock lock(tally.mutex);
  tally.changed.wait_for(lock, std::chrono::seconds(30), [&] { return tally.open == 0; });
}

std::vector<std::shared_ptr<grpc::Channel>> OpenChannels(const std::string& address, int count) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  channels.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    channels.push_back(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }
  return channels;
}

bool SubmitJob(const std::shared_ptr<grpc::Channel>& channel, int ranks) {
  const auto users = v1::Coordinator::NewStub(channel);
  v1::SubmitRequest request;
  request.mutable_spec()->set_name("load");
  request.mutable_spec()->set_data(ranks);
  grpc::ClientContext context;
  context.set_deadline(In20Seconds());
  v1::SubmitReply reply;
  return users->Submit(&context, request, &reply).ok();
}

void Report(const LoadOptions& options, Tally& tally, double cpu_seconds, double memory_mib, double register_seconds) {
  std::sort(tally.milliseconds.begin(), tally.milliseconds.end());
  const auto at = [&](double share) {
    return tally.milliseconds[static_cast<size_t>(share * static_cast<double>(tally.milliseconds.size() - 1))];
  };
  std::printf("workers %d  connections %d  heartbeats %zu in %d s  failed %d\n", options.workers, options.connections,
              tally.milliseconds.size(), options.seconds, tally.failed);
  std::printf("latency ms: p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f\n", at(0.5), at(0.9), at(0.99), at(0.999),
              at(1));
  std::printf("coordinator: %.1f MiB at most, %.1f%% of a core; registering took %.1f s\n", memory_mib,
              100 * cpu_seconds / options.seconds, register_seconds);
  if (tally.failed > 0) std::printf("first failure: %s\n", tally.first_failure.c_str());
}

int Run(LoadOptions options) {
  if (options.connections <= 0) options.connections = options.workers;
  std::string folder = "/tmp/filigree_load_XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return 1;
  // A lease that outlasts the registration of all, so that those who are done need not heartbeat meanwhile.
  CoordinatorProcess process(folder + "/journal.db", {"--lease", "600"});
  if (!process.Start()) {
    std::printf("no coordinator: %s\n", process.said.c_str());
    return 1;
  }
  Tally tally;
  const auto channels = OpenChannels(process.address, options.connections);
  std::vector<std::unique_ptr<LoadWorker>> workers;
  workers.reserve(static_cast<size_t>(options.workers));
  for (int i = 0; i < options.workers; ++i)
    workers.push_back(std::make_unique<LoadWorker>(i, channels[static_cast<size_t>(i % options.connections)], tally));
  const auto begin = Clock::now();
  RegisterAll(workers);
  const double register_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  WaitForAnswers(tally);
  if (!SubmitJob(channels[0], options.workers)) tally.failed++;
  BeatFor(workers, options, 4);  // the job starts, connections warm up
  WaitForAnswers(tally);
  const double cpu_before = CpuSeconds(process.pid());
  tally.measuring = true;
  BeatFor(workers, options, options.seconds);
  const double cpu = CpuSeconds(process.pid()) - cpu_before;
  WaitForAnswers(tally);
  const auto running =
      std::count_if(workers.begin(), workers.end(), [](const auto& worker) { return worker->running(); });
  std::printf("%d of %d ranks run\n", static_cast<int>(running), options.workers);
  Report(options, tally, cpu, MemoryMiB(process.pid()), register_seconds);
  process.Kill();
  const auto expected =
      static_cast<size_t>(static_cast<int64_t>(options.workers) * options.seconds * 1000 / options.period_ms);
  return tally.failed == 0 && running == options.workers && tally.milliseconds.size() == expected ? 0 : 1;
}

}  // namespace
}  // namespace filigree::coordinator

int main(int argc, char** argv) {
  filigree::coordinator::LoadOptions options;
  CLI::App app("Load of a coordinator by many workers");
  app.add_option("--workers", options.workers)->check(CLI::Range(1, 65536));
  app.add_option("--connections", options.connections, "0: one a worker");
  app.add_option("--seconds", options.seconds)->check(CLI::Range(1, 3600));
  app.add_option("--period-ms", options.period_ms)->check(CLI::Range(10, 60'000));
  CLI11_PARSE(app, argc, argv);
  return filigree::coordinator::Run(options);
}
