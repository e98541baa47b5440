#include "tests/worker/comm/group.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <utility>

#include "kernels/base/check.h"
#include "worker/comm/local.h"
#include "worker/comm/mpi.h"

namespace filigree::comm {
namespace {

using Transports = std::vector<std::unique_ptr<Transport>>;

void RunThreads(Transports comm, Transports control, const std::function<void(Member&)>& body,
                std::chrono::milliseconds deadline) {
  std::vector<std::thread> threads;
  threads.reserve(comm.size());
  for (size_t r = 0; r < comm.size(); ++r) {
    threads.emplace_back([&, r] {
      Member member;
      member.comm = std::make_unique<Communicator>(std::move(comm[r]), Communicator::Options{deadline});
      member.control = std::make_unique<Communicator>(std::move(control[r]), Communicator::Options{});
      member.rank = static_cast<int>(r);
      member.size = static_cast<int>(comm.size());
      body(member);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::unique_ptr<Communicator> MpiCommunicator(std::chrono::milliseconds deadline) {
  auto transport = MpiWorld();
  CHECK(transport.ok(), "{}", transport.status().ToString());
  return std::make_unique<Communicator>(*std::move(transport), Communicator::Options{deadline});
}

void RunProcess(const std::function<void(Member&)>& body, std::chrono::milliseconds deadline) {
  Member member;
  member.comm = MpiCommunicator(deadline);
  member.control = MpiCommunicator(Communicator::Options{}.deadline);
  member.rank = member.comm->rank();
  member.size = member.comm->size();
  body(member);
}

// Leaves MPI when all tests are over.
class LeaveMpi : public testing::Environment {
 public:
  void TearDown() override { FinishMpi(); }
};
const auto* const kLeaveMpi = UnderMpi() ? testing::AddGlobalTestEnvironment(new LeaveMpi) : nullptr;

}  // namespace

std::vector<GroupCase> AllGroups() {
  const char* const ranks = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (UnderMpi() && ranks != nullptr) return {{"mpi", std::atoi(ranks)}};
  std::vector<GroupCase> groups;
  for (int size = 1; size <= 4; ++size) groups.push_back({"local", size});
  return groups;
}

void RunGroup(const GroupCase& group, const std::function<void(Member&)>& body, std::chrono::milliseconds deadline) {
  const std::string backend = group.backend;
  if (backend == "mpi") {
    RunProcess(body, deadline);
  } else {
    RunThreads(LocalTransports(group.size), LocalTransports(group.size), body, deadline);
  }
}

}  // namespace filigree::comm
