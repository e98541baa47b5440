#ifndef FILIGREE_WORKER_PARALLEL_WATCHDOG_H_
#define FILIGREE_WORKER_PARALLEL_WATCHDOG_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/parallel/progress.h"
#include "worker/parallel/world.h"

// Notices that a rank is lost or stuck. A thread of every rank tells the others how far its rank is, several times a
// second over a group of its own, so that training may wait for as long as it likes and nobody waits for ever.
//
//   lost    a rank's thread does not answer for `stuck_after` seconds: its process is gone, stopped, or out of reach
//   stuck   its thread answers, but the rank does not wait for others and has made no progress (another phase, shard,
//           file, or a task of its thread pool done) for
//           max(stuck_after, 3 median steps), kOutsideOfSteps seconds outside of steps
//
// The ranks that are left call on_failure with the same report, which names rank, host, phase and step, and with the
// same rank to say it for all.

namespace filigree::parallel {

class Watchdog {
 public:
  // `speaker`: the lowest rank that is not stuck itself; kUnknownSpeaker where a rank was lost, as nobody knows who is
  // left; another one on a process that was stopped for a while and found the others gone.
  using OnFailure = std::function<void(const std::string& report, int speaker)>;
  static constexpr int kUnknownSpeaker = -1;

  // Opening, evaluations, samples and checkpoints have no usual length, nor has the first step.
  static constexpr double kOutsideOfSteps = 60;

  struct Options {
    double stuck_after = 5;
    double interval = 0.25;  // seconds between reports
    // Called once, on the watchdog's thread, on every rank that is left. It may end the process.
    OnFailure on_failure;
    // The same, instead, on a rank that is stuck itself; empty: on_failure.
    OnFailure on_stuck;
  };

  // Collective. Borrows the world, whose progress it reports, and which it tells that it is watched. A world of one has
  // nothing to watch.
  static absl::StatusOr<std::unique_ptr<Watchdog>> Start(World& world, Options options);
  // Leaves when all ranks leave, or after a failure.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  // What a rank tells; travels as it is.
  struct Report {
    int64_t step;
    double idle_seconds, limit_seconds;
    uint32_t waiting, leaving;
    char phase[32];
  };
  Watchdog(World& world, Options options, std::unique_ptr<comm::Communicator> group);
  void Watch();
  Report OwnReport() const;
  void Fail(const std::vector<Report>& reports, const std::string& report) const;
  static bool Stuck(const Report& report);
  std::string StuckRanks(const std::vector<Report>& reports) const;
  bool AllLeave(const std::vector<Report>& reports) const;

  World& world_;
  const Options options_;
  const std::unique_ptr<comm::Communicator> group_;
  std::atomic<bool> leaving_{false};
  std::thread thread_;
};

// After a world was aborted: waits until what runs in it is over. False: it hangs, as it has made no progress for
// `patience` seconds; what computes on, however long it takes, comes to the world's end.
bool AwaitUnlessStuck(const std::atomic<bool>& over, Progress& progress, double patience = Watchdog::kOutsideOfSteps);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_WATCHDOG_H_
