#include "worker/agent/agent.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "proto/contract/ids.h"
#include "worker/agent/children.h"
#include "worker/agent/launch.h"
#include "worker/agent/lease_guard.h"
#include "worker/agent/log_book.h"
#include "worker/agent/log_sender.h"
#include "worker/agent/ranks_service.h"
#include "worker/agent/session.h"
#include "worker/agent/state_folder.h"
#include "worker/agent/supervisor.h"

extern char** environ;

namespace filigree::agent {
namespace {

constexpr int kTickMs = 50;
constexpr std::chrono::milliseconds kFlush(1000);
constexpr int64_t kHeardUs = 2'000'000;  // until a drain goes on without the coordinator's answer

// One table, asked by the ranks' service, the session and the thread of Run; what it orders is carried out by whoever
// asked it, but for starting processes, which that last thread does.
class RunningAgent : public Agent {
 public:
  RunningAgent(AgentOptions options, StateFolder state, std::shared_ptr<grpc::Channel> channel)
      : options_(std::move(options)),
        state_(std::move(state)),
        channel_(std::move(channel)),
        coordinator_(v1::Workers::NewStub(channel_)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        table_(
            options_.host, [] { return RandomName(16); }, options_.patience),
        book_([this](const RankId& id) { return state_.LogPath(id); }),
        guard_([this] { LeaseIsOver(); }),
        session_({options_.name, options_.host, options_.slots, options_.timeout}, *coordinator_, guard_,
                 HooksOfSession()),
        service_(*coordinator_, HooksOfService()) {}
  ~RunningAgent() override { close(wake_); }

  absl::Status Listen() { return service_.Listen(state_.socket()); }
  absl::Status Run() override;
  void Drain() override {
    draining_ = true;
    Wake();
  }
  void StopNow() override {
    stop_now_ = true;
    Drain();
  }

 private:
  SessionHooks HooksOfSession();
  RanksHooks HooksOfService();

  // Asks the table something and carries out what it orders.
  template <typename F>
  auto Ask(F question) {
    std::unique_lock lock(mutex_);
    auto answer = question(table_, NowUs());
    Orders orders = table_.TakeOrders();
    Kill(orders);
    for (Start& start : orders.start) starts_.push_back(std::move(start));
    const bool any_start = !starts_.empty();
    lock.unlock();
    for (const std::string& text : orders.say) options_.say(text);
    if (any_start) Wake();
    if (orders.heartbeat) session_.Wake();
    for (const std::string& process : orders.answer) service_.Retry(process);
    return answer;
  }
  template <typename F>
  void Do(F action) {
    Ask([&](RankTable& table, int64_t now_us) {
      action(table, now_us);
      return true;
    });
  }

  void Kill(const Orders& orders);  // under mutex_
  // Called with the guard's lock held, from any thread: nothing is waited for but the list of processes.
  void LeaseIsOver() {
    children_.KillAll();
    lease_is_over_ = true;
    Wake();
  }
  void Wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
  }
  void StartOrdered(Supervisor& supervisor);
  void TellEndings(Supervisor& supervisor);
  bool DrainOn(int64_t now_us);
  bool IsEmpty() {
    const std::lock_guard lock(mutex_);
    return table_.empty();
  }

  const AgentOptions options_;
  const StateFolder state_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Workers::StubInterface> coordinator_;
  const int wake_;
  std::atomic<bool> draining_ = false, stop_now_ = false, lease_is_over_ = false;
  std::mutex mutex_;
  RankTable table_;                    // guarded by mutex_
  std::map<std::string, pid_t> pids_;  // guarded by mutex_
  std::vector<Start> starts_;          // guarded by mutex_
  // Of Run's thread: when a drain began and nothing was left, and whether ranks were told by ourselves.
  int64_t drain_us_ = -1, empty_us_ = -1;
  bool drained_here_ = false;

  Children children_;
  LogBook book_;
  LeaseGuard guard_;
  Session session_;
  RanksService service_;
};

SessionHooks RunningAgent::HooksOfSession() {
  SessionHooks hooks;
  hooks.reports = [this] { return Ask([](RankTable& table, int64_t) { return table.Reports(); }); };
  hooks.begun = [this] {
    Do([](RankTable& table, int64_t) { table.Forget(); });
    children_.Open();
  };
  hooks.follow = [this](const v1::HeartbeatReply& reply) {
    Do([&](RankTable& table, int64_t now_us) { table.Follow(now_us, reply); });
    service_.ForgetKeys([this](const std::string& job, int64_t generation) {
      const std::lock_guard lock(mutex_);
      return table_.IsPlaced(job, generation);
    });
  };
  hooks.over = [this](const std::string& why) {
    guard_.End();
    lease_is_over_ = false;  // what is assigned after this is not meant by it
    children_.KillAll();
    options_.say(fmt::format("all ranks are ended: {}", why));
    Do([&](RankTable& table, int64_t now_us) { table.GiveUp(now_us, why); });
  };
  hooks.alone = [this] { return IsEmpty(); };
  hooks.new_epoch = [this] { service_.SetKeysAgain(); };
  hooks.say = options_.say;
  return hooks;
}

RanksHooks RunningAgent::HooksOfService() {
  RanksHooks hooks;
  hooks.take = [this](const v1::TakeRequest& request) {
    return Ask([&](RankTable& table, int64_t now_us) { return table.Take(now_us, request); });
  };
  hooks.tell = [this](const v1::TellRequest& request) {
    auto told = Ask([&](RankTable& table, int64_t now_us) { return table.Tell(now_us, request); });
    if (told.ok()) told->set_lease_left_us(guard_.LeftUs());
    return told;
  };
  hooks.job_of = [this](const std::string& process, int64_t generation) {
    return Ask([&](RankTable& table, int64_t) { return table.JobOf(process, generation); });
  };
  hooks.speaker = [this] { return session_.speaker(); };
  return hooks;
}

void RunningAgent::Kill(const Orders& orders) {
  for (const std::string& process : orders.kill)
    if (const auto found = pids_.find(process); found != pids_.end()) children_.Kill(found->second);
}

void RunningAgent::StartOrdered(Supervisor& supervisor) {
  std::vector<Start> starts;
  {
    const std::lock_guard lock(mutex_);
    starts.swap(starts_);
  }
  for (const Start& start : starts) {
    const bool wanted = Ask([&](RankTable& table, int64_t) { return table.IsWanted(start.process); });
    const absl::StatusOr<pid_t> pid =
        wanted && guard_.Holds() ? supervisor.Start(start) : absl::CancelledError("it is not wanted any more");
    if (!pid.ok()) {
      const bool last = Ask([&](RankTable& table, int64_t now_us) {
        table.CouldNotStart(now_us, start.process, std::string(pid.status().message()));
        return !table.HasProcessOf(start.job);
      });
      if (last) state_.RemoveConfig(start.job);
      continue;
    }
    options_.say(fmt::format("{}: started as process {}, {} of {} x {}",
                             Text({start.job, start.generation, start.ranks.front()}), *pid, start.ranks.size(),
                             start.data, start.tensor));
    const std::lock_guard lock(mutex_);
    pids_[start.process] = *pid;
    // It may have been given up while it was started.
    if (!table_.IsWanted(start.process)) children_.Kill(*pid);
  }
}

void RunningAgent::TellEndings(Supervisor& supervisor) {
  for (const Supervisor::Gone& gone : supervisor.Reap()) {
    std::string job;
    const bool last = Ask([&](RankTable& table, int64_t now_us) {
      const std::vector<RankId> ranks = table.RanksOf(gone.process);
      if (!ranks.empty()) job = ranks.front().job;
      table.HasEnded(now_us, gone.process, gone.ending);
      return !job.empty() && !table.HasProcessOf(job);
    });
    if (last) state_.RemoveConfig(job);
    const std::lock_guard lock(mutex_);
    pids_.erase(gone.process);
  }
}

// The way to the end, step by step; true: nothing is left.
bool RunningAgent::DrainOn(int64_t now_us) {
  if (!draining_) return false;
  if (drain_us_ < 0) {
    drain_us_ = now_us;
    options_.say(fmt::format("stopping: ranks have {} s for a checkpoint", options_.grace.count() / 1000));
    session_.Drain();
  }
  // The coordinator asks all ranks of a job alike, also those of other workers; where it is away we ask our own.
  const bool away = !session_.speaker();  // nobody knows us
  const bool heard = away || session_.drain_heard() || now_us - drain_us_ > kHeardUs;
  if (heard && !drained_here_) {
    drained_here_ = true;
    Do([](RankTable& table, int64_t now) { table.Drain(now); });
  }
  const bool over = now_us - drain_us_ > std::chrono::microseconds(options_.grace).count();
  if (stop_now_ || over) {
    children_.KillAll();
    Do([](RankTable& table, int64_t now) { table.GiveUp(now, "the worker ends"); });
  }
  if (!(heard || stop_now_ || over) || !IsEmpty()) return false;
  if (empty_us_ < 0) {
    empty_us_ = now_us;
    session_.Wake();
  }
  // Ranks that stopped because of this are no fault, if the coordinator hears of them before we leave.
  return away || session_.heard_us() > empty_us_ || now_us - empty_us_ > kHeardUs;
}

absl::Status RunningAgent::Run() {
  Supervisor supervisor(children_, state_, book_,
                        {options_.program, options_.folder, state_.socket(), EnvironmentOfRanks(environ)},
                        [this](const std::string& process) {
                          const std::lock_guard lock(mutex_);
                          return table_.RanksOf(process);
                        });
  std::optional<LogSender> sender;
  sender.emplace(book_, *coordinator_, [this] { return session_.speaker(); });
  session_.Start();
  for (;;) {
    supervisor.Read(wake_, kTickMs);
    if (lease_is_over_.exchange(false))
      Do([](RankTable& table, int64_t now) { table.GiveUp(now, "the lease of this worker is over"); });
    StartOrdered(supervisor);
    TellEndings(supervisor);
    const int64_t now_us = NowUs();
    Do([&](RankTable& table, int64_t now) { table.Tick(now); });
    service_.Expire(now_us);
    if (DrainOn(now_us) || !session_.refused().ok()) break;
  }
  sender->Flush(kFlush);  // before the coordinator takes us for gone
  sender.reset();
  session_.Stop();
  service_.Stop();
  return session_.refused();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Open(AgentOptions options) {
  for (const absl::Status& status :
       {contract::CheckId("name of the worker", options.name), contract::CheckId("host of the worker", options.host)})
    if (!status.ok()) return status;
  struct stat facts = {};
  if (stat(options.folder.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode))
    return absl::InvalidArgumentError(fmt::format("{}: is no folder; ranks are to run there", options.folder));
  // Ranks are started in another folder than this one.
  std::error_code error;
  const std::string program = std::filesystem::absolute(options.program, error).string();
  if (error || stat(program.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode) || access(program.c_str(), X_OK) != 0)
    return absl::InvalidArgumentError(fmt::format(
        "--program \"{}\": is no program that can be started; ranks are started as PROGRAM train", options.program));
  options.program = program;
  auto channel = rpc::OpenChannel(options.coordinator);
  if (!channel.ok()) return channel.status();
  absl::StatusOr<StateFolder> state = StateFolder::Open(options.state);
  if (!state.ok()) return state.status();
  auto agent = std::make_unique<RunningAgent>(std::move(options), *std::move(state), *std::move(channel));
  if (absl::Status status = agent->Listen(); !status.ok()) return status;
  return agent;
}

}  // namespace filigree::agent
