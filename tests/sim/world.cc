#include "tests/sim/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace filigree::sim {

using coordinator::Core;
using coordinator::JobRow;
using coordinator::Now;

namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kPatience = 300 * kSecond;  // after everything was mended
constexpr int kClient = 1, kFirstWorker = 2;

}  // namespace

struct World::Wish {
  contract::JobSpec spec;
  std::string job;  // empty: not yet acknowledged
  bool ends_early = false, by_drain = false, told = false;
};

World::World(uint64_t seed, const WorldOptions& options)
    : options_(options),
      dice_(seed),
      wall_dice_(seed + 1'000'000'007),
      network_(loop_, seed * 3 + 1),
      coordinator_(loop_, judge_, seed * 5 + 2, coordinator::Options()) {
  faults_end_us_ = dice_.Between(5, 30) * kSecond;
  between_faults_us_ = dice_.Between(200'000, 3'000'000);
  coordinator_.die_in_decision = dice_.Chance(0.5) ? 0.02 : 0;
  coordinator_.answer_first = options.answer_first;
  MakeWorkers();
  MakeJobs();
}

World::~World() = default;

void World::MakeWorkers() {
  hosts_ = dice_.Between(1, 3);
  const int64_t workers = dice_.Between(2, 5);
  const SimWorker::Parts parts = {loop_, network_, coordinator_, judge_, runs_};
  for (int64_t w = 0; w < workers; ++w)
    workers_.push_back(std::make_unique<SimWorker>(parts, kFirstWorker + static_cast<int>(w),
                                                   fmt::format("h{}", w % hosts_),
                                                   static_cast<int32_t>(dice_.Between(1, 3)), dice_.Next()));
}

void World::MakeJobs() {
  std::map<int64_t, int64_t> slots;  // by host
  for (size_t w = 0; w < workers_.size(); ++w) slots[static_cast<int64_t>(w) % hosts_] += workers_[w]->slots();
  const int64_t jobs = dice_.Between(1, 4);
  for (int64_t j = 0; j < jobs; ++j) {
    Wish wish;
    wish.spec.name = fmt::format("job{}", j);
    wish.spec.idempotency_key = fmt::format("key{}", j);
    wish.spec.tensor = static_cast<int32_t>(dice_.Between(1, 2));
    int64_t groups = 0;
    for (const auto& [host, count] : slots) groups += count / wish.spec.tensor;
    if (groups == 0) wish.spec.tensor = 1, groups = static_cast<int64_t>(workers_.size());
    wish.spec.data = static_cast<int32_t>(dice_.Between(1, 4));
    wish.spec.min_data = static_cast<int32_t>(dice_.Between(1, std::min<int64_t>(groups, wish.spec.data)));
    wish.spec.priority = static_cast<int32_t>(dice_.Between(-1, 1));
    wish.spec.restart_limit = dice_.Chance(0.2) ? 3 : 1000;
    wish.spec.deadlines = {0, 20, 10};
    wish.ends_early = dice_.Chance(0.25);
    wish.by_drain = dice_.Chance(0.5);
    wishes_.push_back(wish);
    const size_t index = wishes_.size() - 1;
    loop_.After(dice_.Between(0, 10 * kSecond), [this, index] { Submit(index); });
  }
}

void World::Submit(size_t index) {
  if (!wishes_[index].job.empty()) return;
  network_.Send(kClient, 0, [this, index] {
    coordinator_.Serve<coordinator::SubmitReply>(
        [&](Core& core, Now now) { return core.Submit(now, {wishes_[index].spec}); },
        [this, index](const absl::StatusOr<coordinator::SubmitReply>& reply) {
          if (!reply.ok()) return;
          network_.Send(0, kClient, [this, index, job = reply->job] {
            Wish& wish = wishes_[index];
            if (!wish.job.empty() && wish.job != job)
              judge_.Violated("one key made the jobs " + wish.job + " and " + job);
            judge_.SawSubmitted(job, wish.spec);
            if (wish.job.empty() && wish.ends_early)
              loop_.After(dice_.Between(0, 20 * kSecond), [this, index] { AskToEnd(index); });
            wish.job = job;
          });
        });
  });
  loop_.After(kSecond, [this, index] { Submit(index); });
}

void World::AskToEnd(size_t index) {
  const Wish& wish = wishes_[index];
  if (wish.told) return;
  network_.Send(kClient, 0, [this, index, job = wish.job, by_drain = wish.by_drain] {
    coordinator_.Serve<coordinator::Empty>(
        [&](Core& core, Now now) { return by_drain ? core.DrainJob(now, {job}) : core.Cancel(now, {job}); },
        [this, index, job, by_drain](const absl::StatusOr<coordinator::Empty>& reply) {
          const bool ended = reply.status().code() == absl::StatusCode::kFailedPrecondition;
          if (!reply.ok() && !ended) return;
          network_.Send(0, kClient, [this, index, job, by_drain, ended] {
            wishes_[index].told = true;
            if (!by_drain && !ended) judge_.SawCancelled(job);
          });
        });
  });
  loop_.After(kSecond, [this, index] { AskToEnd(index); });
}

void World::Tell(const std::string& text) const {
  if (options_.verbose) std::printf("%10.6f  %s\n", static_cast<double>(loop_.now_us()) * 1e-6, text.c_str());
}

void World::FaultLater() {
  loop_.After(dice_.Between(between_faults_us_ / 2, between_faults_us_ * 2), [this] {
    if (loop_.now_us() >= faults_end_us_) return Mend();
    ++faults_;
    OneFault();
    FaultLater();
  });
}

void World::OneFault() {
  SimWorker& worker = *workers_[static_cast<size_t>(dice_.Between(0, static_cast<int64_t>(workers_.size()) - 1))];
  switch (dice_.Between(0, 9)) {
    case 0:
      Tell("coordinator killed");
      coordinator_.Kill();
      loop_.After(dice_.Between(200'000, 6 * kSecond), [this] { coordinator_.Start(); });
      return;
    case 1:
      Tell("disk full");
      coordinator_.disk_full = true;
      loop_.After(dice_.Between(200'000, 4 * kSecond), [this] { coordinator_.disk_full = false; });
      return;
    case 2:
      network_.loss = dice_.Chance(0.5) ? 0 : 0.3;
      network_.twice = dice_.Chance(0.5) ? 0 : 0.3;
      network_.late = dice_.Chance(0.5) ? 0 : 0.2;
      Tell(fmt::format("network: loss {} twice {} late {}", network_.loss, network_.twice, network_.late));
      return;
    case 3:
      return DamageOneRun();
    case 4: {
      const std::string name = worker.name();
      Tell(name + " is drained");
      coordinator_.Serve<coordinator::Empty>([&](Core& core, Now now) { return core.DrainWorker(now, {name}); },
                                             [](const auto&) {});
      return;
    }
    default:
      return WorkerFault(worker);
  }
}

void World::WorkerFault(SimWorker& worker) {
  const int64_t for_us = dice_.Between(200'000, 9 * kSecond);
  switch (dice_.Between(0, 4)) {
    case 0:
      Tell(worker.name() + " crashes");
      worker.Crash();
      loop_.After(for_us, [&worker] { worker.Start(); });
      return;
    case 1:
      Tell(worker.name() + " is stopped");
      worker.Pause();
      loop_.After(for_us, [this, &worker] {
        Tell(worker.name() + " goes on");
        worker.Resume();
      });
      return;
    case 2:
    case 3: {
      const bool there = dice_.Chance(0.7), back = !there || dice_.Chance(0.5);
      Tell(fmt::format("{} is cut off{}{}", worker.name(), there ? ", not heard" : "", back ? ", hears nothing" : ""));
      if (there) network_.Cut(worker.node(), 0);
      if (back) network_.Cut(0, worker.node());
      loop_.After(for_us, [this, &worker] {
        network_.Mend(worker.node(), 0);
        network_.Mend(0, worker.node());
      });
      return;
    }
    default:
      Tell("a rank on " + worker.name() + " fails");
      worker.FailOneRank(dice_);
  }
}

void World::DamageOneRun() {
  for (auto& [key, run] : runs_) {
    const JobRow* row = coordinator_.journal().FindJob(run.job);
    if (row->generation != run.generation || row->data < 2 || run.damaged || !dice_.Chance(0.7)) continue;
    run.damaged = true;
    run.damaged_rank = static_cast<int32_t>(dice_.Between(0, run.count - 1));
    run.tells_itself = dice_.Chance(0.5);
    Tell(fmt::format("rank {} of {} generation {} is damaged at step {}", run.damaged_rank, run.job, run.generation,
                     run.step));
    judge_.SawDamage(run.job, run.generation, (run.step / run.mask_every + 1) * run.mask_every - 1);
    return;
  }
}

void World::Mend() {
  Tell("everything is mended");
  mended_ = true;
  network_.MendAll();
  network_.loss = network_.twice = network_.late = 0;
  coordinator_.disk_full = false;
  coordinator_.die_in_decision = 0;
  coordinator_.Start();
  for (const auto& worker : workers_) {
    worker->Resume();
    // One that is being drained was emptied for this: it comes back as a new process.
    const coordinator::WorkerRow* row = coordinator_.journal().FindWorker(worker->name());
    if (row != nullptr && row->draining) worker->Crash();
    worker->Start();
  }
}

void World::TrainLater() {
  loop_.After(100'000, [this] {
    for (auto& [key, run] : runs_) Train(run);
    TrainLater();
  });
}

void World::Train(GenerationRun& run) {
  int32_t working = 0, leaving = 0;
  SimWorker* first = nullptr;
  for (const auto& worker : workers_)
    for (int32_t rank = 0; rank < run.count; ++rank)
      if (worker->Works(run.job, run.generation, rank)) {
        ++working;
        leaving += worker->IsLeaving(run.job, run.generation) ? 1 : 0;
        if (rank == 0) first = worker.get();
      }
  if (working < run.count || first == nullptr) return;
  if (run.at_mask()) {
    for (const auto& worker : workers_) worker->ReportMasks(run);
  } else if (run.at_commit() || (leaving == run.count && run.step > std::max<int64_t>(run.committed, 0))) {
    first->AskCommit(run);
  } else if (leaving == run.count || run.step >= run.steps) {
    for (const auto& worker : workers_)
      run.step >= run.steps ? worker->Finish(run.job, run.generation) : worker->StopRanks(run.job, run.generation);
  } else {
    ++run.step;
    run.agreed.clear();
  }
}

bool World::AllEnded() const {
  return coordinator_.up() && std::all_of(wishes_.begin(), wishes_.end(), [&](const Wish& wish) {
           const JobRow* row = wish.job.empty() ? nullptr : coordinator_.core().tables().FindJob(wish.job);
           return row != nullptr && coordinator::Ended(row->state);
         });
}

void World::Look() {
  judge_.now_us = loop_.now_us();
  std::map<std::string, std::set<int64_t>> running;
  for (const auto& worker : workers_) worker->AddRunning(running);
  for (const auto& [job, generations] : running) judge_.SawRunning(job, generations);
}

std::string World::WhoIsStuck() const {
  std::string text = fmt::format("{} s after everything was mended not every job has ended:", kPatience / kSecond);
  for (const auto& [id, row] : coordinator_.journal().jobs())
    text += fmt::format(" {} is {} at generation {} ({});", id, Name(row.state), row.generation, row.reason);
  return text;
}

Summary World::Run() {
  if (options_.verbose) judge_.tell = [this](const std::string& text) { Tell(text); };
  coordinator_.Start();
  for (const auto& worker : workers_) worker->Start();
  FaultLater();
  TrainLater();
  Summary summary;
  int64_t next_jump_us = 0;
  while (judge_.violation.empty() && !(mended_ && AllEnded()) && loop_.Step()) {
    ++summary.events;
    if (options_.wall_jumps && loop_.now_us() >= next_jump_us) {
      next_jump_us = loop_.now_us() + wall_dice_.Between(kSecond, 5 * kSecond);
      coordinator_.wall_jump_us = wall_dice_.Between(-3600, 3600) * kSecond;
    }
    Look();
    if (loop_.now_us() > faults_end_us_ + kPatience) judge_.Violated(WhoIsStuck());
  }
  if (judge_.violation.empty() && coordinator_.up()) judge_.CheckPromises(coordinator_.core().tables());
  summary.violation = judge_.violation;
  summary.trace = judge_.trace();
  summary.simulated_us = loop_.now_us();
  summary.faults = faults_;
  summary.jobs = static_cast<int64_t>(wishes_.size());
  summary.generations = judge_.generations();
  summary.commits = judge_.commits();
  summary.rollbacks = judge_.rollbacks();
  return summary;
}

}  // namespace filigree::sim
