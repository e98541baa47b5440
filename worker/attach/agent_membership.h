#ifndef FILIGREE_WORKER_ATTACH_AGENT_MEMBERSHIP_H_
#define FILIGREE_WORKER_ATTACH_AGENT_MEMBERSHIP_H_

#include <chrono>
#include <functional>
#include <string>

#include "worker/attach/agent_link.h"
#include "worker/attach/teller.h"
#include "worker/parallel/launch.h"
#include "worker/parallel/membership.h"

// Generations as a coordinator decides on them: the agent hands out their ranks, and their ranks meet over Gloo through
// the coordinator's keys, or over MPI where an mpirun of the agent's has started them. Numbers are the coordinator's
// and begin with 1; a process may begin in any of them.

namespace filigree::attach {

struct MembershipOptions {
  std::string host, interface;           // as GlooOptions
  milliseconds meeting{90'000};          // for a group to come together, if nobody says before that it is to be left
  milliseconds patience{5000};           // with an agent that does not answer
  std::function<bool()> stop_requested;  // asked while this process waits for a part; then it is over
  int stopped_exit_code = 75;            // of a process that is over without having failed
};

class AgentMembership : public parallel::Membership {
 public:
  // Borrows link and teller, which tells of every generation from the moment that it is taken.
  AgentMembership(AgentLink& link, Teller& teller, MembershipOptions options);

  absl::StatusOr<parallel::Generation> First() override { return Await(0, {}); }
  void Announce(const parallel::Generation& /*lost*/) override {}  // who takes the next part says it
  absl::StatusOr<parallel::Generation> Next(const parallel::Generation& last, const std::string& missed) override;
  absl::StatusOr<std::unique_ptr<comm::Transport>> Join(const parallel::Generation& generation) override;
  void Finish(int /*exit_code*/) override {}  // the agent sees it

  // What the agent said of the generation this process is in. Of the thread that asks for generations.
  const Part& part() const { return part_; }

 private:
  absl::StatusOr<parallel::Generation> Await(int64_t after, const std::string& lost);
  parallel::Generation Enter(Part part);

  AgentLink& link_;
  Teller& teller_;
  const MembershipOptions options_;
  Part part_;
};

// Asks for the commit of a checkpoint until there is an answer: a save whose commit may count or not can be followed by
// no other. `waiting` is called with every answer that is none. Errors: FailedPrecondition: this process writes too
// late, the checkpoint does not count; Unavailable: the generation is to be left, it may count or not.
absl::Status CommitThroughAgent(AgentLink& link, const Teller& teller, const CommitPoint& point,
                                const std::function<void(const absl::Status& why)>& waiting);

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_AGENT_MEMBERSHIP_H_
