#include "tests/sim/sim_coordinator.h"

namespace filigree::sim {

using coordinator::Core;
using coordinator::Now;

SimCoordinator::SimCoordinator(Loop& loop, Judge& judge, uint64_t seed, const coordinator::Options& options)
    : loop_(loop), judge_(judge), dice_(seed), options_(options) {}

Now SimCoordinator::Clock() const {
  const auto passed = static_cast<double>(loop_.now_us() - clock_start_us_);
  return {clock_offset_us_ + static_cast<int64_t>(passed * clock_rate_),
          1'700'000'000'000'000 + loop_.now_us() + wall_jump_us};
}

void SimCoordinator::Start() {
  if (up()) return;
  ++life_;
  clock_start_us_ = loop_.now_us();
  clock_offset_us_ = dice_.Between(0, 1'000'000'000'000);
  clock_rate_ = 1 + 1e-4 * static_cast<double>(dice_.Between(-200, 200));
  judge_.CheckPromises(journal_);
  if (const absl::Status status = journal_.Check(); !status.ok())
    judge_.Violated("a journal would refuse what was kept: " + std::string(status.message()));
  core_ = std::make_unique<Core>(options_, journal_, Clock());
  const auto decision = core_->Start(Clock());
  if (Settle(decision.outcome) == Fate::kNotKept) Kill();  // it cannot begin on a full disk
  TickLater();
}

void SimCoordinator::Kill() { core_.reset(); }

SimCoordinator::Fate SimCoordinator::Settle(const coordinator::Outcome& outcome) {
  const bool rows = !outcome.rows.empty();
  if (rows && disk_full) {
    core_->Drop(outcome);
    return Fate::kNotKept;
  }
  if (rows && !answer_first && dice_.Chance(die_in_decision)) {
    Kill();
    return Fate::kDied;
  }
  const bool lost_after_answer = rows && answer_first && dice_.Chance(die_in_decision);
  if (!lost_after_answer) {
    judge_.SawKept(journal_, outcome);
    journal_.Apply(outcome.rows);
  }
  if (rows && dice_.Chance(die_in_decision)) {
    Kill();
    return answer_first ? Fate::kKept : Fate::kDied;
  }
  core_->Accept(outcome);
  if (lost_after_answer) {
    Kill();
    return Fate::kKept;
  }
  judge_.CheckPromises(core_->tables());
  if (rows && dice_.Chance(0.05) && Dump(core_->tables()) != Dump(journal_))
    judge_.Violated("the journal and the core say different things");
  return Fate::kKept;
}

void SimCoordinator::TickLater() {
  loop_.After(250'000, [this, life = life_] {
    if (life != life_ || !up()) return;
    Serve<coordinator::Empty>([](Core& core, Now now) { return core.Tick(now); }, [](const auto&) {});
    TickLater();
  });
}

}  // namespace filigree::sim
