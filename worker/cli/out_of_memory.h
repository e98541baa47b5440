#ifndef FILIGREE_WORKER_CLI_OUT_OF_MEMORY_H_
#define FILIGREE_WORKER_CLI_OUT_OF_MEMORY_H_

namespace filigree::cli {

inline constexpr int kExitOutOfMemory = 6;  // beside those of command.h

// From now on an allocation that is refused (ulimit, a limit of address space, no overcommit) ends the process with a
// line on stderr and kExitOutOfMemory. Where the kernel kills instead, there is nothing to be said. For `train`: a
// service that is refused memory for one request should live on.
void EndWhereMemoryIsRefused();

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_OUT_OF_MEMORY_H_
