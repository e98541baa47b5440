#ifndef FILIGREE_TESTS_SIM_SIM_COORDINATOR_H_
#define FILIGREE_TESTS_SIM_SIM_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "coordinator/core/core.h"
#include "tests/sim/dice.h"
#include "tests/sim/judge.h"
#include "tests/sim/network.h"

namespace filigree::sim {

// The process around the core: a clock, a journal in memory that outlives it, and its death at any point of a decision.
class SimCoordinator {
 public:
  SimCoordinator(Loop& loop, Judge& judge, uint64_t seed, const coordinator::Options& options);

  void Start();
  void Kill();
  bool up() const { return core_ != nullptr; }
  const coordinator::Core& core() const { return *core_; }
  const coordinator::Tables& journal() const { return journal_; }

  // Asks `decide` of the core and answers. No answer: the process is down, or died on the way.
  template <typename Reply>
  void Serve(const std::function<coordinator::Decision<Reply>(coordinator::Core&, coordinator::Now)>& decide,
             const std::function<void(const absl::StatusOr<Reply>&)>& answer) {
    if (!up()) return;
    auto decision = decide(*core_, Clock());
    const Fate fate = Settle(decision.outcome);
    if (fate == Fate::kDied) return;
    if (fate == Fate::kNotKept) return answer(absl::UnavailableError("the journal is full"));
    answer(decision.reply);
  }

  double die_in_decision = 0;  // probability, before or after the rows are kept
  bool disk_full = false;
  bool answer_first = false;  // a planted bug: rows are kept after the answer, if at all
  int64_t wall_jump_us = 0;

 private:
  enum class Fate { kKept, kNotKept, kDied };
  Fate Settle(const coordinator::Outcome& outcome);
  coordinator::Now Clock() const;
  void TickLater();

  Loop& loop_;
  Judge& judge_;
  Dice dice_;
  const coordinator::Options options_;
  coordinator::Tables journal_;
  std::unique_ptr<coordinator::Core> core_;
  int64_t life_ = 0;
  int64_t clock_start_us_ = 0, clock_offset_us_ = 0;  // its monotonic clock begins anywhere ...
  double clock_rate_ = 1;                             // ... and is a little fast or slow
};

}  // namespace filigree::sim

#endif  // FILIGREE_TESTS_SIM_SIM_COORDINATOR_H_
