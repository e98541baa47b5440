#ifndef FILIGREE_WORKER_CLIENT_WATCH_H_
#define FILIGREE_WORKER_CLIENT_WATCH_H_

#include <chrono>
#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "filigree/v1/coordinator.pb.h"
#include "worker/client/connection.h"

namespace filigree::client {

enum class WatchOutput {
  kAuto,      // kTerminal where `out` is one, else kLines
  kLines,     // what happens, and how it gets on every ten seconds
  kTerminal,  // the same above a bar that is redrawn in place
  kJson       // a line of JSON each
};

struct WatchOptions {
  std::string job;  // empty: everything, for ever
  WatchOutput output = WatchOutput::kAuto;
  std::FILE* out = stdout;                     // borrowed
  std::chrono::milliseconds patience{60'000};  // how long a coordinator may be away
};

// Follows the job until it has ended; goes on where the coordinator was restarted or we were too slow. The job's last
// state; Status as Watch in proto/filigree/v1/coordinator.proto, Unavailable where nobody answered for `patience`.
absl::StatusOr<v1::JobState> Watch(const Connection& connection, const WatchOptions& options);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_WATCH_H_
