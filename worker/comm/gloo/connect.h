#ifndef FILIGREE_WORKER_COMM_GLOO_CONNECT_H_
#define FILIGREE_WORKER_COMM_GLOO_CONNECT_H_

#include <gloo/transport/device.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/transport.h"

// How ranks that know each other's addresses become a group. Gloo's own way of connecting them waits for one rank after
// another, each with a time of its own; here all connect at once, against one deadline, and all that do not come are
// named.

namespace filigree::comm {

// What one rank tells another before they are connected: its host and an address for this one alone.
constexpr size_t kMostCardBytes = 512;

struct GlooMeeting {
  int rank = 0, size = 1;
  std::string host;  // what this machine calls itself
  std::chrono::steady_clock::time_point deadline;
  // As GlooOptions'; null: nobody asks who else is missing, and the first pair that fails ends the meeting.
  std::vector<int>* missing = nullptr;
  std::function<bool()> given_up;  // asked now and then, from then on it is over; empty: never
  // Gives card r to rank r; returns theirs for this rank, in rank order; its own place is ignored. Cards may come back
  // longer than they were given, with zeros behind.
  std::function<absl::StatusOr<std::vector<std::string>>(const std::vector<std::string>& mine)> swap_cards;
};

// Listens on `interface`, or on the address of `host`, or, where both are empty, on that of the machine's name.
absl::StatusOr<std::shared_ptr<gloo::transport::Device>> OpenGlooDevice(const std::string& host,
                                                                        const std::string& interface);

// Errors: those of swap_cards; DeadlineExceeded and Unavailable naming the ranks that did not connect;
// FailedPrecondition where an address cannot work.
absl::StatusOr<std::unique_ptr<Transport>> ConnectGloo(std::shared_ptr<gloo::transport::Device> device,
                                                       const GlooMeeting& meeting);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_CONNECT_H_
