#ifndef FILIGREE_COORDINATOR_CONSOLE_CONSOLE_H_
#define FILIGREE_COORDINATOR_CONSOLE_CONSOLE_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/console/history.h"
#include "coordinator/rpc/listen.h"
#include "coordinator/rpc/server.h"

namespace filigree::coordinator {

struct ConsoleOptions {
  std::string what = "--console-listen";  // begins messages: what gave the address
  std::string address;                    // HOST:PORT; port 0: any that is free
  Security security;                      // the server's own: the console asks for the same
  std::chrono::milliseconds sample_every{1000};
};

// What a server tells the history that its console shows: events, and how far a job has come when its ranks are gone,
// which a sample every second misses.
Hooks HooksOf(std::shared_ptr<History> history);

// The console: its page, what the page asks for, and a thread that samples how runs get on. Reading is for readers and
// admins, ending jobs and emptying workers for admins, as over the API; without credentials on a loopback address only.
class Console {
 public:
  // Listens when this returns. The server outlives the console; its hooks feed the history (HooksOf). Status: as
  // listen.h's Secure; InvalidArgument: no address; Unavailable: the port is taken.
  static absl::StatusOr<std::unique_ptr<Console>> Start(const ConsoleOptions& options, Server& server,
                                                        std::shared_ptr<History> history);
  // Whether Start would take the options, but for the port.
  static absl::Status Check(const ConsoleOptions& options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  std::string url() const;  // "http://127.0.0.1:7072/"

 private:
  struct Parts;
  explicit Console(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_CONSOLE_H_
