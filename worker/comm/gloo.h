#ifndef FILIGREE_WORKER_COMM_GLOO_H_
#define FILIGREE_WORKER_COMM_GLOO_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/key_value.h"
#include "worker/comm/transport.h"

// Ranks over TCP by Gloo, which meet through a key-value store and outlive the loss of a peer: the others get
// Unavailable and may form a new group, of another generation, in the same processes.

namespace filigree::comm {

struct GlooOptions {
  int rank = 0, size = 1;
  std::string interface;   // network interface to listen on; empty: that of host
  std::string host;        // address that others reach; empty: that of the machine's name
  std::string generation;  // a name that no other group uses in this store
  std::chrono::milliseconds connect_deadline{30'000};
  // Borrowed; gets the ranks that did not come or could not be reached, where that is why there is no group. Null:
  // none.
  std::vector<int>* missing = nullptr;
};

// Every rank calls it with the same store. Errors: DeadlineExceeded naming the ranks that did not come.
absl::StatusOr<std::unique_ptr<Transport>> GlooGroup(const GlooOptions& options,
                                                     const std::shared_ptr<KeyValueStore>& store);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_H_
