#ifndef FILIGREE_WORKER_COMM_LOCAL_H_
#define FILIGREE_WORKER_COMM_LOCAL_H_

#include <memory>
#include <vector>

#include "worker/comm/transport.h"

// Ranks that are threads of one process: messages are copied from memory to memory. For tests, and for a world of one.

namespace filigree::comm {

// One transport a rank, to be given to as many threads. They may be destroyed in any order; a rank whose transport is
// gone is a lost peer to the others.
std::vector<std::unique_ptr<Transport>> LocalTransports(int size);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_LOCAL_H_
