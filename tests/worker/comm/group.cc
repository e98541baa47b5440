#include "tests/worker/comm/group.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <utility>

#include "kernels/base/check.h"
#include "worker/comm/gloo.h"
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

// Threads meet in memory, each through its own loop of Gloo.
Transports GlooThreads(int size) {
  const std::shared_ptr<KeyValueStore> store = MemoryStore();
  Transports transports(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  threads.reserve(transports.size());
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      GlooOptions options;
      options.rank = r;
      options.size = size;
      options.host = "127.0.0.1";
      options.generation = "test";
      auto transport = GlooGroup(options, store);
      CHECK(transport.ok(), "{}", transport.status().ToString());
      transports[static_cast<size_t>(r)] = *std::move(transport);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return transports;
}

const char* Environment(const char* name) { return std::getenv(name); }
bool IsGlooProcess() { return Environment("FILIGREE_RANKS") != nullptr; }

// Processes meet in a folder; every group is a generation of its own.
std::unique_ptr<Communicator> GlooProcess(std::chrono::milliseconds deadline) {
  static int groups = 0;
  auto store = FolderStore(Environment("FILIGREE_STORE"));
  CHECK(store.ok(), "{}", store.status().ToString());
  GlooOptions options;
  options.rank = std::atoi(Environment("FILIGREE_RANK"));
  options.size = std::atoi(Environment("FILIGREE_RANKS"));
  options.host = "127.0.0.1";
  options.generation = std::to_string(groups++);
  auto transport = GlooGroup(options, *store);
  CHECK(transport.ok(), "{}", transport.status().ToString());
  return std::make_unique<Communicator>(*std::move(transport), Communicator::Options{deadline});
}

void RunProcess(const std::function<void(Member&)>& body, std::chrono::milliseconds deadline) {
  Member member;
  const auto join = IsGlooProcess() ? GlooProcess : MpiCommunicator;
  member.comm = join(deadline);
  member.control = join(Communicator::Options{}.deadline);
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
  if (IsGlooProcess()) return {{"gloo", std::atoi(Environment("FILIGREE_RANKS"))}};
  std::vector<GroupCase> groups;
  groups.reserve(8);
  for (int size = 1; size <= 4; ++size) groups.push_back({"local", size});
  for (int size = 1; size <= 4; ++size) groups.push_back({"gloo", size});
  return groups;
}

void RunGroup(const GroupCase& group, const std::function<void(Member&)>& body, std::chrono::milliseconds deadline) {
  const std::string backend = group.backend;
  if (backend == "mpi" || IsGlooProcess()) {
    RunProcess(body, deadline);
  } else if (backend == "gloo") {
    RunThreads(GlooThreads(group.size), GlooThreads(group.size), body, deadline);
  } else {
    RunThreads(LocalTransports(group.size), LocalTransports(group.size), body, deadline);
  }
}

}  // namespace filigree::comm
