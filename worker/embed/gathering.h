#ifndef FILIGREE_WORKER_EMBED_GATHERING_H_
#define FILIGREE_WORKER_EMBED_GATHERING_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/parallel/world.h"

namespace filigree::embed {

// What every rank has to tell, brought to all of them again and again by a thread of each rank, over a group of its
// own: training does not wait for it, and it is no reason for anything if it fails.
class Gathering {
 public:
  struct Options {
    std::chrono::milliseconds interval{500};
    std::function<std::string()> tell;  // on the thread: any bytes of this rank, a few KiB
    std::function<void(const std::vector<std::string>&)>
        hear;  // on the thread, those of all ranks by rank; may be empty
  };

  // Collective. Borrows nothing of the world.
  static absl::StatusOr<std::unique_ptr<Gathering>> Start(parallel::World& world, Options options);
  // Gathers once more and leaves when all ranks leave, or after a failure.
  ~Gathering();
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

 private:
  Gathering(std::unique_ptr<comm::Communicator> group, Options options);
  void Run();
  bool Round();  // false: it was the last

  const std::unique_ptr<comm::Communicator> group_;  // null: a world of one
  const Options options_;
  std::atomic<bool> leaving_{false};
  std::thread thread_;
};

}  // namespace filigree::embed

#endif  // FILIGREE_WORKER_EMBED_GATHERING_H_
