#ifndef FILIGREE_WORKER_ATTACH_AGENT_STORE_H_
#define FILIGREE_WORKER_ATTACH_AGENT_STORE_H_

#include <functional>
#include <memory>

#include "worker/attach/agent_link.h"
#include "worker/comm/key_value.h"

namespace filigree::attach {

// Where the ranks of a generation meet: the coordinator's keys, through the agent. A coordinator that is started anew
// has lost them, so whoever waits here sets its own again. `left`: asked while something is waited for; once it is true
// everything fails. Errors, beside KeyValueStore's: Unavailable: the generation is over, left, or was not reached for
// as long as a call may wait. Borrows the link.
std::shared_ptr<comm::KeyValueStore> AgentStore(AgentLink& link, int64_t generation, std::function<bool()> left);

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_AGENT_STORE_H_
