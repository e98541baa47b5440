#ifndef FILIGREE_WORKER_ATTACH_PART_H_
#define FILIGREE_WORKER_ATTACH_PART_H_

#include "absl/status/statusor.h"
#include "filigree/v1/agent.pb.h"
#include "worker/attach/agent_link.h"

// The agent's answers, checked: what they say goes into file names, sizes of groups and decisions about checkpoints.

namespace filigree::attach {

// DataLoss: a rank outside of its grid, a generation that is not after `after`, a checkpoint of a later generation ...
absl::StatusOr<Taken> TakenOf(const v1::TakeReply& reply, int64_t after);

// DataLoss: a directive that is not known here.
absl::StatusOr<Order> OrderOf(const v1::TellReply& reply);

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_PART_H_
