#ifndef FILIGREE_WORKER_COMM_LOST_RANK_H_
#define FILIGREE_WORKER_COMM_LOST_RANK_H_

#include <vector>

#include "absl/status/status.h"
#include "worker/comm/transport.h"

// How transports report ranks that do not answer: the same words on every backend.

namespace filigree::comm {

// `why` with that rank in front.
absl::Status LeftStatus(const Transport& transport, int rank, const absl::Status& why);
// Unavailable: the rank's process or connection is gone; `how` is what the backend knows of it, or empty.
absl::Status GoneStatus(const Transport& transport, int rank, const std::string& how);
// DeadlineExceeded.
absl::Status LateStatus(const Transport& transport, const std::vector<int>& ranks);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_LOST_RANK_H_
