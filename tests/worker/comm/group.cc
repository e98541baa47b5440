#include "tests/worker/comm/group.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "kernels/base/check.h"
#include "worker/comm/local.h"

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

}  // namespace

std::vector<GroupCase> AllGroups() {
  std::vector<GroupCase> groups;
  for (int size = 1; size <= 4; ++size) groups.push_back({"local", size});
  return groups;
}

void RunGroup(const GroupCase& group, const std::function<void(Member&)>& body, std::chrono::milliseconds deadline) {
  CHECK(std::string(group.backend) == "local");
  RunThreads(LocalTransports(group.size), LocalTransports(group.size), body, deadline);
}

}  // namespace filigree::comm
