#include "worker/attach/agent_membership.h"

#include <fmt/format.h>

#include <numeric>
#include <thread>
#include <utility>

#include "worker/attach/agent_store.h"
#include "worker/comm/gloo.h"
#include "worker/comm/local.h"
#include "worker/comm/mpi.h"

namespace filigree::attach {
namespace {

constexpr milliseconds kWait{1000};  // of one Take: how late a stop may be noticed
constexpr milliseconds kPause{100};  // before a call that failed is made again

bool MayWork(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
}

// The ranks that the launcher has started, which the agent must count as it does.
absl::StatusOr<std::unique_ptr<comm::Transport>> JoinMpi(const parallel::Generation& generation) {
  absl::StatusOr<std::unique_ptr<comm::Transport>> transport = comm::MpiWorld();
  if (!transport.ok()) return transport;
  const int rank = (*transport)->rank(), size = (*transport)->size();
  if (rank == generation.rank && size == generation.size()) return transport;
  return absl::FailedPreconditionError(
      fmt::format("mpirun has started this process as rank {} of {}, its worker takes it for rank {} of {}; start the "
                  "worker with an mpirun and a filigree_mpi.so of the same MPI",
                  rank, size, generation.rank, generation.size()));
}

}  // namespace

AgentMembership::AgentMembership(AgentLink& link, Teller& teller, MembershipOptions options)
    : link_(link), teller_(teller), options_(std::move(options)) {}

absl::StatusOr<parallel::Generation> AgentMembership::Next(const parallel::Generation& last,
                                                           const std::string& missed) {
  const bool told = teller_.MustLeave();
  teller_.End();
  return Await(last.number, told ? std::string() : missed);
}

absl::StatusOr<parallel::Generation> AgentMembership::Await(int64_t after, const std::string& lost) {
  parallel::Generation over;
  over.over = options_.stopped_exit_code;
  while (true) {
    if (options_.stop_requested && options_.stop_requested()) return over;
    absl::StatusOr<Taken> taken = link_.Take(after, lost, kWait);
    if (taken.ok() && taken->over) return over;
    if (taken.ok() && taken->part) return Enter(*std::move(taken->part));
    if (taken.ok()) continue;
    if (!MayWork(taken.status())) return taken.status();
    if (link_.Gone(options_.patience)) {
      return absl::UnavailableError(fmt::format("the agent at {} is gone", link_.path()));
    }
    std::this_thread::sleep_for(kPause);
  }
}

parallel::Generation AgentMembership::Enter(Part part) {
  part_ = std::move(part);
  teller_.Begin(part_.generation);
  parallel::Generation generation;
  generation.number = part_.generation;
  generation.grid = part_.grid;
  generation.members.resize(static_cast<size_t>(part_.grid.size()));
  std::iota(generation.members.begin(), generation.members.end(), 0);
  generation.rank = part_.rank;
  return generation;
}

absl::StatusOr<std::unique_ptr<comm::Transport>> AgentMembership::Join(const parallel::Generation& generation) {
  if (generation.size() == 1) return std::move(comm::LocalTransports(1).front());
  if (comm::UnderMpi()) return JoinMpi(generation);
  comm::GlooOptions options;
  options.rank = generation.rank;
  options.size = generation.size();
  options.host = options_.host;
  options.interface = options_.interface;
  options.generation = fmt::format("{}.{}", part_.job, generation.number);
  options.connect_deadline = options_.meeting;
  return comm::GlooGroup(options, AgentStore(link_, generation.number, [this] { return teller_.MustLeave(); }));
}

absl::Status CommitThroughAgent(AgentLink& link, const Teller& teller, const CommitPoint& point,
                                const std::function<void(const absl::Status& why)>& waiting) {
  while (true) {
    absl::Status status = link.Commit(point);
    if (!MayWork(status)) return status;
    if (teller.MustLeave()) {
      return absl::UnavailableError(
          fmt::format("generation {} is to be left; whether its checkpoint of step {} counts is not known: {}",
                      point.generation, point.step, std::string(status.message())));
    }
    waiting(status);
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace filigree::attach
