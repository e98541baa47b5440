#ifndef FILIGREE_WORKER_AGENT_LAUNCHER_WORD_H_
#define FILIGREE_WORKER_AGENT_LAUNCHER_WORD_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace filigree::agent {

// Of the ranks that an mpirun has started: the first that failed, because of which it has killed the others.
struct LaunchersWord {
  int32_t rank = 0;
  int code = 0;    // its exit code
  int signal = 0;  // not 0: it was killed by it
};

// What Open MPI's mpirun (4 and 5) says of that in the last lines it prints, the last of it; nothing: it does not say.
// Ranks print into the same lines and may say the same: it is good for a name in a message and for nothing else.
std::optional<LaunchersWord> WordOfMpirun(std::string_view tail);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_LAUNCHER_WORD_H_
