#ifndef FILIGREE_TESTS_SIM_SIM_WORKER_H_
#define FILIGREE_TESTS_SIM_SIM_WORKER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "coordinator/core/messages.h"
#include "tests/sim/dice.h"
#include "tests/sim/judge.h"
#include "tests/sim/network.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/training.h"

namespace filigree::sim {

// A worker as the contract wants it: it stops its ranks when its own lease ends, has one heartbeat on its way at a
// time, starts a generation at most once. It crashes, and it is stopped and goes on as if nothing had been.
class SimWorker {
 public:
  struct Parts {
    Loop& loop;
    Network& network;
    SimCoordinator& coordinator;
    Judge& judge;
    Runs& runs;
  };
  SimWorker(const Parts& parts, int node, const std::string& host, int32_t slots, uint64_t seed);

  void Start();
  void Crash();
  void Pause();
  void Resume();
  bool up() const { return up_; }
  bool paused() const { return paused_; }
  int node() const { return node_; }
  const std::string& name() const { return name_; }
  int32_t slots() const { return slots_; }

  // Generations of which a rank runs here under a lease that this worker holds for valid.
  void AddRunning(std::map<std::string, std::set<int64_t>>& running) const;
  // Whether that rank can take part in a step now.
  bool Works(const std::string& job, int64_t generation, int32_t rank) const;
  bool IsLeaving(const std::string& job, int64_t generation) const;
  void FailOneRank(Dice& dice);  // a process of a rank dies

  void AskCommit(GenerationRun& run);    // for rank 0, which is here
  void ReportMasks(GenerationRun& run);  // for every rank of the run that is here
  void Finish(const std::string& job, int64_t generation);
  void StopRanks(const std::string& job, int64_t generation);

 private:
  using Key = std::pair<std::string, int64_t>;  // job and generation
  void CommitLate(const Key& key);

  int64_t Clock() const;
  bool LeaseHolds() const { return registered_ && Clock() < lease_until_; }
  void TickLater();
  void Tick();
  void Register();
  void Heartbeat();
  void Heard(const absl::StatusOr<coordinator::HeartbeatReply>& reply, int64_t sent, int64_t sequence);
  void Follow(const coordinator::HeartbeatReply& reply);
  void StartRanks(const coordinator::Assignment& assignment);
  void GiveUp();  // the lease is over: ranks are ended, and a new registration is asked for
  // Runs `work` if this process still lives, at once or when it goes on after a stop.
  Work Alive(const Work& work);

  Parts parts_;
  Dice dice_;
  const int node_;
  const std::string name_, host_;
  const int32_t slots_;
  double clock_rate_ = 1;
  int64_t clock_offset_us_ = 0;

  bool up_ = false, paused_ = false;
  int64_t process_ = 0;
  std::deque<Work> waiting_;  // what happened while stopped

  bool registered_ = false;
  std::string nonce_, replaces_;
  int64_t incarnation_ = 0, epoch_ = 0, sequence_ = 0, lease_until_ = 0, asked_at_ = 0;
  bool urgent_ = false;
  std::map<Key, std::map<int32_t, coordinator::RankReport>> ranks_;
  std::map<Key, coordinator::Action> actions_;
  std::set<Key> started_;
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_SIM_WORKER_H_
