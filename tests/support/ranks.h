#ifndef FILIGREE_TESTS_SUPPORT_RANKS_H_
#define FILIGREE_TESTS_SUPPORT_RANKS_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "worker/comm/communicator.h"
#include "worker/comm/local.h"

// Ranks as threads of a test.

namespace filigree::testing_support {

// Calls `rank` on as many threads, each with its transport, and waits for all.
inline void RunRanks(int ranks, const std::function<void(std::unique_ptr<comm::Transport>)>& rank) {
  std::vector<std::unique_ptr<comm::Transport>> transports = comm::LocalTransports(ranks);
  std::vector<std::thread> threads;
  threads.reserve(ranks);
  for (std::unique_ptr<comm::Transport>& transport : transports) {
    threads.emplace_back([&rank, mine = std::move(transport)]() mutable { rank(std::move(mine)); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_RANKS_H_
