#include "worker/cli/train_under_agent.h"

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "worker/attach/agent_link.h"
#include "worker/attach/agent_membership.h"
#include "worker/attach/teller.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/cli/train_in_world.h"
#include "worker/comm/mpi.h"
#include "worker/parallel/generations.h"
#include "worker/run/commit.h"
#include "worker/run/stop.h"
#include "worker/train/fault.h"

namespace filigree::cli {
namespace {

using attach::Directive;

// All ranks of a generation stop together, some before their agent has told them to.
constexpr std::chrono::milliseconds kHearWhy{10'000};

// A process without an agent has no lease any more: others may take its place at any moment. The agent reads what is
// printed: where it is stopped, a full pipe would hold this process for as long.
void EndAlone(const std::string& why) {
  pollfd out = {STDERR_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0) Say("{}; this rank ends with it", why);
  std::_Exit(kExitRankLost);
}

attach::MembershipOptions Options() {
  const auto text = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  attach::MembershipOptions options;
  options.host = text("FILIGREE_HOST");
  options.interface = text("FILIGREE_INTERFACE");
  options.stop_requested = train::StopRequested;
  options.stopped_exit_code = kExitStopped;
  return options;
}

// The coordinator may be away, or its disk full: this rank is alive meanwhile, and says once what it waits for.
class CommitPatience {
 public:
  CommitPatience(parallel::World& world, int64_t step) : world_(world), step_(step) {}

  void Waits(const absl::Status& why) {
    constexpr std::chrono::seconds kSilence{10};
    world_.progress().Tick();
    if (said_ || std::chrono::steady_clock::now() - begin_ < kSilence) return;
    said_ = true;
    Say("training waits until the coordinator commits the checkpoint of step {}: {}", step_,
        std::string(why.message()));
  }

 private:
  parallel::World& world_;
  const int64_t step_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  bool said_ = false;
};

// What comes of a generation whose training is back, since the agent wanted something of it.
parallel::Outcome Obey(parallel::Outcome outcome, attach::Teller& teller) {
  const bool stopped = outcome.lost.ok() && outcome.exit_code == kExitStopped;
  const bool asked = train::StopRequested();
  attach::Order order = teller.Ask();  // another rank may have heard it sooner, which looks like a loss from here
  if (stopped && !asked) order = teller.AwaitOrder(kHearWhy);
  const bool told = order.directive == Directive::kLeave || (stopped && order.directive == Directive::kCheckpoint);
  const bool over = outcome.lost.ok() && !stopped;  // done, or failed: that is what it is
  if (!told || over) return outcome;
  parallel::Outcome left{kExitStopped};
  left.left = order.keep && !asked;
  return left;
}

// One after another in this process.
class Generations {
 public:
  Generations(bool quiet, const absl::StatusOr<config::Settings>& settings, attach::AgentLink& link,
              const attach::AgentMembership& membership, attach::Teller& teller)
      : quiet_(quiet), settings_(settings), link_(link), membership_(membership), teller_(teller) {}

  parallel::Outcome Train(parallel::World& world, const parallel::Generation& generation) {
    config::Settings settings = *settings_;
    settings.parallel.data = world.grid().data;  // processes that were started for other grids are to agree
    settings.parallel.tensor = world.grid().tensor;
    std::atomic<bool> over{false};
    train::Fencing fencing = Fence(world);
    Surroundings surroundings = Around();
    surroundings.fencing = &fencing;
    surroundings.on_failure = [&](const std::string& report, int) {
      world.Abort(absl::UnavailableError(report));
      EndUnless(over, world);
    };
    // Nobody is to wait for this process, and no other rank to be blamed.
    surroundings.on_stuck = [&](const std::string& report, int) {
      world.Abort(absl::UnavailableError(report));
      teller_.Fail(report);
      std::_Exit(kExitRankLost);
    };
    teller_.WhenToLeave([&] {
      world.Abort(absl::UnavailableError(fmt::format("generation {} is to be left at once", generation.number)));
    });
    parallel::Outcome outcome = TrainInWorld(surroundings, settings, world, over, run_);
    teller_.WhenToLeave(nullptr);
    outcome = Obey(std::move(outcome), teller_);
    if (!outcome.reason.empty()) teller_.Fail(outcome.reason);
    return outcome;
  }

 private:
  Surroundings Around() {
    Surroundings surroundings;
    surroundings.quiet = quiet_;
    surroundings.first_start = std::exchange(first_start_, false);
    surroundings.stop_requested = [this] {
      return train::StopRequested() || teller_.order().directive != Directive::kGoOn;
    };
    surroundings.job = membership_.part().job;
    surroundings.metrics = [this](const ShownMetrics& shown) { teller_.Show(shown.metrics, shown.address); };
    return surroundings;
  }

  // Who commits checkpoints: the coordinator, who is asked through the agent.
  train::Fencing Fence(parallel::World& world) {
    train::Fencing fencing;
    const attach::Part& part = membership_.part();
    fencing.job = part.job;
    fencing.generation = part.generation;
    if (part.resume) fencing.resume = {part.resume->generation, part.resume->step, part.resume->digest};
    fencing.rollback = part.rollback;
    fencing.commit = [this, &world](const train::CommitPoint& point) {
      train::FaultPoint("commit", point.step);
      CommitPatience patience(world, point.step);
      absl::Status status = attach::CommitThroughAgent(link_, teller_, {point.generation, point.step, point.digest},
                                                       [&](const absl::Status& why) { patience.Waits(why); });
      if (status.ok()) train::FaultPoint("committed", point.step);
      return status;
    };
    return fencing;
  }

  const bool quiet_;
  const absl::StatusOr<config::Settings>& settings_;
  attach::AgentLink& link_;
  const attach::AgentMembership& membership_;
  attach::Teller& teller_;
  HeldRun run_;
  bool first_start_ = true;
};

// A rank that fell out with the others, or never came to them.
int EndWithoutOthers(const absl::Status& why, attach::Teller& teller) {
  teller.Fail(std::string(why.message()));
  const int failed = Finish(why);
  const int code = absl::IsAborted(why) || absl::IsUnavailable(why) ? kExitRankLost : failed;
  std::fflush(nullptr);
  if (comm::UnderMpi()) comm::AbortMpi(code);  // to leave MPI in an orderly way is to wait for whoever was lost
  return code;
}

// mpirun kills the other ranks when one ends with another code than 0: first all have told their last and are out of
// MPI. The agent, who takes silence for a hang, hears of this one as long as it waits for them.
void LeaveTogether(attach::Teller& teller) {
  if (!comm::UnderMpi()) return;
  teller.Ask();
  comm::FinishMpi();
}

}  // namespace

int TrainUnderAgent(bool quiet, const absl::StatusOr<config::Settings>& settings) {
  prctl(PR_SET_NAME, "filigree");  // for ps and pgrep: started as /proc/self/exe it would be "exe"
  const absl::StatusOr<std::unique_ptr<attach::AgentLink>> link = attach::OpenAgentLink(std::getenv);
  if (!link.ok()) return Finish(link.status());
  attach::TellerOptions telling;
  telling.alone = EndAlone;
  attach::Teller teller(**link, telling);
  attach::AgentMembership membership(**link, teller, Options());
  Generations generations(quiet, settings, **link, membership, teller);
  const auto work = [&](parallel::World& world, const parallel::Generation& generation) {
    return generations.Train(world, generation);
  };
  const auto tell = [](const std::string& text) { Say("{}", text); };
  const absl::StatusOr<int> exit_code = parallel::RunGenerations(settings, membership, work, tell);
  if (!exit_code.ok()) return EndWithoutOthers(exit_code.status(), teller);
  LeaveTogether(teller);
  teller.End();
  return *exit_code;
}

}  // namespace filigree::cli
