#ifndef FILIGREE_WORKER_COMM_HOST_NAME_H_
#define FILIGREE_WORKER_COMM_HOST_NAME_H_

#include <string>

namespace filigree::comm {

// What this machine calls itself; "unknown" where it does not.
std::string HostName();

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_HOST_NAME_H_
