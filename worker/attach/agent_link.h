#ifndef FILIGREE_WORKER_ATTACH_AGENT_LINK_H_
#define FILIGREE_WORKER_ATTACH_AGENT_LINK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "filigree/v1/agent.grpc.pb.h"
#include "worker/parallel/grid.h"
#include "worker/parallel/launch.h"

// The agent that started this process, over its Unix socket (proto/filigree/v1/agent.proto). Every answer is checked
// before anybody sees it.
//
//   FILIGREE_AGENT     unix:/PATH of the socket
//   FILIGREE_PROCESS   what the agent calls this process, or the mpirun that has started it
//
// Every rank of an mpirun speaks for itself, as a rank does that the agent has started; it is called by the launcher's
// name and its number there. One that speaks for all would be simpler for the agent, but it would say nothing while MPI
// is being opened, fall silent with the first rank that hangs, and leave the others without a lease of their own.
//
// Threads: any number of callers. Errors: Status as agent.proto lists it; DataLoss: an answer that makes no sense.

namespace filigree::attach {

using std::chrono::milliseconds;

// A checkpoint that counts.
struct CommitPoint {
  int64_t generation = 0, step = 0;
  std::string digest;  // of its manifest
};

// One rank of a generation of a job.
struct Part {
  std::string job;
  int64_t generation = 0;
  int rank = 0;
  parallel::Grid grid;
  bool rollback = false;              // start from `resume`, whatever is alive
  std::optional<CommitPoint> resume;  // absent: from the beginning
};
struct Taken {
  std::optional<Part> part;  // absent: not yet
  bool over = false;         // nobody needs this process any more
};

// What the agent wants of this rank; the greater one counts.
enum class Directive { kGoOn, kCheckpoint, kLeave };
struct Order {
  Directive directive = Directive::kGoOn;
  bool keep = false;  // having left, this process takes a part again; else it ends
  // Of the worker's lease when the agent answered; to be counted from before it was asked. Absent: it does not say.
  std::optional<std::chrono::microseconds> lease_left = std::nullopt;
};

class AgentLink {
 public:
  // Nothing is sent yet.
  AgentLink(const std::string& path, std::string process);

  // Asks what this process is to be in a generation after `after`, and waits for it. `lost`: as in agent.proto.
  absl::StatusOr<Taken> Take(int64_t after, const std::string& lost, milliseconds wait);
  // Fills in the process's name.
  absl::StatusOr<Order> Tell(v1::TellRequest request, std::chrono::microseconds deadline);
  absl::Status Commit(const CommitPoint& point);
  absl::Status Set(int64_t generation, const std::string& key, const std::string& value);
  absl::StatusOr<std::string> Get(int64_t generation, const std::string& key, milliseconds wait);

  // Has the agent, who answers Take and Tell himself, given no answer for `patience`, or does nobody hold its socket
  // any more? Then its lease ends, and so must this process.
  bool Gone(milliseconds patience) const;
  // For messages.
  const std::string& path() const { return path_; }

 private:
  using Clock = std::chrono::steady_clock;
  void Heard(Clock::time_point began, bool answered);
  bool SocketIsHeld() const;

  const std::string path_, process_;
  const std::unique_ptr<v1::Ranks::Stub> stub_;
  mutable std::mutex mutex_;
  std::optional<Clock::time_point> silent_since_;  // guarded by mutex_
};

// Has an agent started this process, or the MPI launcher that did?
bool StartedByAgent(const parallel::Environment& environment);

// InvalidArgument: says which variable is missing or wrong.
absl::StatusOr<std::unique_ptr<AgentLink>> OpenAgentLink(const parallel::Environment& environment);

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_AGENT_LINK_H_
