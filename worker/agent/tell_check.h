#ifndef FILIGREE_WORKER_AGENT_TELL_CHECK_H_
#define FILIGREE_WORKER_AGENT_TELL_CHECK_H_

#include "absl/status/status.h"
#include "filigree/v1/agent.pb.h"

namespace filigree::agent {

// A heartbeat carries what all ranks of a worker tell, and the coordinator refuses all of it for one wrong field. So
// what one rank tells is held to the coordinator's rules here. InvalidArgument names the field.
absl::Status CheckTell(const v1::TellRequest& tell);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_TELL_CHECK_H_
