#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <string>
#include <thread>

#include "proto/contract/ids.h"
#include "worker/agent/agent.h"
#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/print.h"
#include "worker/cli/real_in.h"
#include "worker/cli/revision.h"
#include "worker/comm/host_name.h"
#include "worker/telemetry/display.h"

// filigree worker: offers this machine to a coordinator until it is told to stop.

namespace filigree::cli {
namespace {

struct WorkerOptions {
  ConnectOptions connect;
  agent::AgentOptions agent;
  double grace = 60;
  bool quiet = false;
};

// The machine's name as one that coordinators take.
std::string NameOfThisHost() {
  std::string name = comm::HostName().substr(0, contract::kMaxIdBytes);
  for (char& c : name)
    if (!contract::IsId(std::string(1, c))) c = '-';
  return name;
}

// SIGTERM and SIGINT are waited for and not caught, so they are held back while there is one thread.
sigset_t HoldStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// The first one drains the worker, the second one ends it at once. Ends before the agent.
class StopSignals {
 public:
  StopSignals(const sigset_t& signals, agent::Agent& agent)
      : thread_([this, signals, &agent] { Wait(signals, agent); }) {}
  ~StopSignals() {
    over_ = true;
    thread_.join();
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  void Wait(const sigset_t& signals, agent::Agent& agent) {
    const timespec kLook = {0, 100'000'000};
    for (int asked = 0; !over_;) {
      if (sigtimedwait(&signals, nullptr, &kLook) < 0) continue;
      if (++asked == 1)
        agent.Drain();
      else
        agent.StopNow();
    }
  }

  std::atomic<bool> over_ = false;
  std::thread thread_;
};

// What a rank printed last may be several lines: they stand under the one that tells of it.
void Say(const std::string& text) {
  const double now = static_cast<double>(std::time(nullptr));
  std::string lines;
  for (const char c : telemetry::Printable(text)) lines += c == '\n' ? std::string("\n    | ") : std::string(1, c);
  Print("{}  {}\n", telemetry::TimeText(now), lines);
  std::fflush(stdout);
}

int RunWorker(WorkerOptions& options) {
  const sigset_t signals = HoldStopSignals();
  QuietGrpc();  // starts threads, which inherit what is held
  agent::AgentOptions& wanted = options.agent;
  wanted.coordinator = options.connect.channel;
  wanted.timeout = std::chrono::milliseconds(static_cast<int64_t>(options.connect.timeout * 1000));
  wanted.grace = std::chrono::milliseconds(static_cast<int64_t>(options.grace * 1000));
  if (wanted.state.empty()) wanted.state = wanted.folder + "/.filigree-worker/" + wanted.name;
  if (!options.quiet) wanted.say = Say;
  auto agent = agent::Agent::Open(wanted);
  if (!agent.ok()) return Finish(agent.status());
  if (!options.quiet)
    Say(fmt::format("filigree worker {} {}: {} slots, coordinator {}", FILIGREE_VERSION, wanted.name, wanted.slots,
                    wanted.coordinator.address));
  const StopSignals told(signals, **agent);
  const absl::Status status = (*agent)->Run();
  if (status.ok() && !options.quiet) Say("left");
  return Finish(status);
}

}  // namespace

void AddWorkerCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("worker", "Offer this machine to a coordinator: runs ranks of its jobs");
  auto options = std::make_shared<WorkerOptions>();
  agent::AgentOptions& agent = options->agent;
  agent.name = agent.host = NameOfThisHost();
  agent.slots = static_cast<int32_t>(std::clamp(std::thread::hardware_concurrency(), 1U, 4096U));
  agent.folder = ".";
  agent.program = "/proc/self/exe";
  command->add_option("--name", agent.name, "Name of this worker; no two of a coordinator have the same")
      ->capture_default_str();
  command->add_option("--host", agent.host, "Name of this machine: ranks of a tensor group share one")
      ->capture_default_str();
  command->add_option("--slots", agent.slots, "Ranks it takes at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--workdir", agent.folder, "Where ranks run: relative paths of their settings begin there")
      ->capture_default_str();
  command->add_option("--state", agent.state,
                      "Folder for socket and logs (default: WORKDIR/.filigree-worker/NAME, mode 0700)");
  command->add_option("--program", agent.program, "Ranks are started as PROGRAM train ... (default: this program)")
      ->capture_default_str();
  command->add_option("--grace", options->grace, "Seconds that ranks have for a checkpoint when the worker is to end")
      ->check(RealIn(0, 86400))
      ->capture_default_str();
  command->add_flag("--quiet", options->quiet, "Do not print what happens");
  AddConnectOptions(*command, options->connect);
  command->footer("SIGTERM and SIGINT: ranks make a checkpoint, the worker leaves; again: at once.");
  command->callback([options, &exit_code] { exit_code = RunWorker(*options); });
}

}  // namespace filigree::cli
