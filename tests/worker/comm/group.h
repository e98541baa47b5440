#ifndef FILIGREE_TESTS_WORKER_COMM_GROUP_H_
#define FILIGREE_TESTS_WORKER_COMM_GROUP_H_

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <vector>

#include "worker/comm/communicator.h"

// Groups of ranks of every backend, for tests that do not care which. Under mpirun this process is one rank of a group
// of MPI, and with FILIGREE_RANKS set (tests/support/ranks.py) of one of Gloo, and there is no other; elsewhere the
// ranks are threads.

namespace filigree::comm {

struct GroupCase {
  const char* backend;
  int size;
};
inline std::ostream& operator<<(std::ostream& out, const GroupCase& group) {
  return out << group.backend << ' ' << group.size;
}

// What this process can run: sizes 1 to 4 of threads, or the one group that a launcher made.
std::vector<GroupCase> AllGroups();

// `comm` is what is tested. `control` joins the same ranks and stays whole when `comm` breaks.
struct Member {
  std::unique_ptr<Communicator> comm;
  std::unique_ptr<Communicator> control;
  int rank = 0, size = 1;
};

// Runs `body` on every rank of a new group; over when all are. Deadline: of operations of `comm`.
void RunGroup(const GroupCase& group, const std::function<void(Member&)>& body,
              std::chrono::milliseconds deadline = std::chrono::seconds(60));

}  // namespace filigree::comm

#endif  // FILIGREE_TESTS_WORKER_COMM_GROUP_H_
