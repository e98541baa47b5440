#ifndef FILIGREE_COORDINATOR_RPC_SERVER_H_
#define FILIGREE_COORDINATOR_RPC_SERVER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/core.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/options.h"
#include "coordinator/rpc/desk.h"
#include "coordinator/rpc/keep.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/rpc/listen.h"
#include "coordinator/rpc/log_store.h"
#include "coordinator/tables/tables.h"
#include "proto/rpc/channel.h"

namespace filigree::coordinator {

using EndRequest = std::variant<CancelRequest, DrainJobRequest, DrainWorkerRequest>;

struct ServerOptions {
  std::string address = rpc::kDefaultAddress;  // port 0: any that is free
  Security security;
  Options core;
  Limits limits;
  Hooks hooks;
  std::chrono::milliseconds tick{200};
};

// A coordinator that listens. One thread, the strand, owns the core and calls `keep` and the hooks; gRPC's threads
// check who calls and what the bytes mean. Several servers may live in one process.
//
// Protobuf's own messages on stderr are switched off, for the whole process. gRPC's health service says NOT_SERVING
// while rows cannot be kept and once Stop has begun.
class Server {
 public:
  // `tables`: what `keep` holds so far. When this returns, this process is the journal's new epoch and is listening.
  // InvalidArgument, NotFound, PermissionDenied: as listen.h's Secure; Unavailable: the address is taken or cannot be
  // listened on, or the first rows cannot be kept.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Tables tables, Keep keep);

  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Where it listens: the port is the real one.
  const std::string& address() const;

  // Runs `look` on the strand and waits for it: for metrics and pages. Not from a hook. False: it is stopping or
  // overloaded, and nothing was run.
  bool Look(const std::function<void(const Core& core, Now now)>& look);
  bool LookAtLogs(const std::function<void(const Core& core, const LogStore& logs)>& look);

  // Ends a job or empties a worker as Coordinator.Cancel and Drain do, and waits until it is decided. Not from a hook.
  // Who may do so is the caller's to know. Status: as those methods.
  absl::Status End(const EndRequest& request);

  // Watchers that let their queue run full, since the start. Any thread.
  int64_t watchers_dropped() const;

  // Everybody who waits is answered Unavailable, later calls are refused. Idempotent.
  void Stop();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_SERVER_H_
