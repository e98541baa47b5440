#ifndef FILIGREE_WORKER_CLI_OWN_COORDINATOR_H_
#define FILIGREE_WORKER_CLI_OWN_COORDINATOR_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/cli/train_in_world.h"
#include "worker/config/settings.h"
#include "worker/embed/gathering.h"
#include "worker/embed/own_job.h"
#include "worker/parallel/world.h"

namespace filigree::cli {

// What telemetry.serve asks for: the first rank has a coordinator in it, all ranks tell it how they get on, and who
// drains or cancels the run there stops it.
class OwnCoordinator {
 public:
  // Collective; all ranks fail if the first cannot listen. Null where nobody asked for it.
  static absl::StatusOr<std::unique_ptr<OwnCoordinator>> Start(const config::Settings& settings,
                                                               parallel::World& world);
  OwnCoordinator(const OwnCoordinator&) = delete;
  OwnCoordinator& operator=(const OwnCoordinator&) = delete;

  // Adds to what surrounds training in the world; this must outlive it.
  void Join(Surroundings& surroundings);
  // Training has come back: tells those who look on how it ended.
  void End(int exit_code, const std::string& reason);

 private:
  OwnCoordinator() = default;
  std::string Tell();
  void Hear(const std::vector<std::string>& reports);

  std::mutex mutex_;
  std::shared_ptr<const metrics::RankMetrics> metrics_;  // guarded by mutex_; null: none yet
  std::string address_;                                  // guarded by mutex_
  std::unique_ptr<embed::OwnJob> job_;                   // of the first rank
  std::unique_ptr<embed::Gathering> gathering_;          // ends before what it tells of
};

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_OWN_COORDINATOR_H_
