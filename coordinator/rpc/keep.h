#ifndef FILIGREE_COORDINATOR_RPC_KEEP_H_
#define FILIGREE_COORDINATOR_RPC_KEEP_H_

#include <functional>

#include "absl/status/status.h"
#include "coordinator/tables/rows.h"

namespace filigree::coordinator {

// Makes the rows of one decision durable, all of them or none, before it returns OK; a journal in production, tables in
// a test. Called by one thread. Anything but OK: nothing was kept, and what was asked is answered Unavailable.
using Keep = std::function<absl::Status(const Changes& rows)>;

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_KEEP_H_
