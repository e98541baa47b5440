#ifndef FILIGREE_WORKER_MODEL_TENSOR_GROUP_H_
#define FILIGREE_WORKER_MODEL_TENSOR_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

// The ranks that share one model (tensor parallel), as the model sees them: two ways to exchange bytes. Whoever carries
// them (worker/comm, threads in a test) implements this.
//
// Order          every rank makes the same calls in the same order; calls block until all is there.
// Threads        one call at a time, always from the thread that called the network.
// Errors         as the carrier says: a call that fails breaks the group, and later ones return the same status.

namespace filigree::model {

class TensorGroup {
 public:
  virtual ~TensorGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Seconds spent in the two calls below since the group was made.
  virtual double seconds() const { return 0; }

  // Rank r gets the r-th run of `send`, send_bytes[r] long; `receive` becomes what the ranks sent here, in their order,
  // receive_bytes[r] long. Nothing goes from a rank to itself: those two are 0. `what` is for messages and counts of
  // bytes: "c_attn inputs".
  virtual absl::Status AllToAll(const char* what, std::span<const std::byte> send, std::span<const int64_t> send_bytes,
                                std::span<std::byte> receive, std::span<const int64_t> receive_bytes) = 0;

  // `all` is the concatenation of every rank's run, bytes[r] long; this rank's is there already, the others are filled.
  virtual absl::Status AllGather(const char* what, std::span<std::byte> all, std::span<const int64_t> bytes) = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_TENSOR_GROUP_H_
