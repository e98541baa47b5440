#ifndef FILIGREE_TESTS_SIM_WORLD_H_
#define FILIGREE_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/sim_worker.h"

namespace filigree::sim {

struct WorldOptions {
  bool wall_jumps = true;
  bool answer_first = false;  // a planted bug of the process around the core
  bool verbose = false;       // tell every fault and every event
};

struct Summary {
  std::string violation;  // empty: none
  uint64_t trace = 0;
  int64_t events = 0, simulated_us = 0, faults = 0;
  int64_t jobs = 0, generations = 0, commits = 0, rollbacks = 0;
};

// One cluster and its fate, drawn from the seed: workers on a few hosts, some jobs with users who submit, cancel and
// drain them, and a time of faults, after which everything is mended and every job must come to its end.
class World {
 public:
  World(uint64_t seed, const WorldOptions& options);
  ~World();
  Summary Run();

 private:
  struct Wish;  // of a user: asked again until it is answered

  void MakeWorkers();
  void MakeJobs();
  void Submit(size_t wish);
  void AskToEnd(size_t wish);
  void FaultLater();
  void OneFault();
  void WorkerFault(SimWorker& worker);
  void DamageOneRun();
  void Mend();
  void TrainLater();
  void Train(GenerationRun& run);
  bool AllEnded() const;
  void Look();
  std::string WhoIsStuck() const;
  void Tell(const std::string& text) const;

  const WorldOptions options_;
  Dice dice_;
  Dice wall_dice_;
  Loop loop_;
  Judge judge_;
  Network network_;
  SimCoordinator coordinator_;
  Runs runs_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::vector<Wish> wishes_;
  int64_t hosts_ = 1;
  int64_t faults_end_us_ = 0, between_faults_us_ = 0;
  int64_t faults_ = 0;
  bool mended_ = false;
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_WORLD_H_
