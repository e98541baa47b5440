#ifndef FILIGREE_WORKER_AGENT_AGENT_H_
#define FILIGREE_WORKER_AGENT_AGENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/rpc/channel.h"
#include "worker/agent/rank_table.h"

// A machine's side of the coordinator: keeps it registered, starts and ends the processes of its ranks, says how they
// are and how they ended. docs/operate/workers.md tells what it does when.

namespace filigree::agent {

struct AgentOptions {
  std::string name, host;  // ids
  int32_t slots = 1;       // 1..4096
  std::string folder;      // where ranks run; relative paths of their settings begin there
  std::string state;       // see state_folder.h
  std::string program;     // ranks are started as PROGRAM train CONFIG ...
  rpc::ChannelOptions coordinator;
  std::chrono::milliseconds timeout{5'000};  // for its answer when the worker registers and leaves
  std::chrono::milliseconds grace{60'000};   // for checkpoints of its ranks, when the worker is to end
  Patience patience;
  std::function<void(const std::string& line)> say = [](const std::string&) {};  // from any thread
};

class Agent {
 public:
  // Nothing is started or sent yet. Status as StateFolder::Open and rpc::OpenChannel; InvalidArgument: a name that is
  // none, or the folder is not there.
  static absl::StatusOr<std::unique_ptr<Agent>> Open(AgentOptions options);
  virtual ~Agent() = default;

  // Works until it is drained or the coordinator will never take it, which is what it returns. Ranks live no longer
  // than the thread that calls this. Once.
  virtual absl::Status Run() = 0;

  // Ranks make a checkpoint and stop, within the grace; then Run comes back. From any thread.
  virtual void Drain() = 0;
  // The same without checkpoints.
  virtual void StopNow() = 0;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_AGENT_H_
