#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "coordinator/core/core.h"
#include "coordinator/journal/journal.h"
#include "tests/coordinator/journal/sample_rows.h"

// A core on a real journal and two workers that train. The coordinator dies at every write of the story, once before
// the rows are kept and once between that and the answer; the next one reads what the disk holds then and the story
// goes on.

namespace filigree::coordinator {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kSteps = 9, kCommitEvery = 3;

// The process: core, journal, clock, and its death.
class Process {
 public:
  enum class Death : uint8_t { kNever, kBeforeRows, kBeforeAnswer };

  Process(Death death, int64_t at_write) : death_(death), at_write_(at_write) { Boot(); }

  // No answer: it died on the way; another one stands in its place.
  template <typename Reply>
  std::optional<absl::StatusOr<Reply>> Ask(const std::function<Decision<Reply>(Core&, Now)>& decide) {
    Decision<Reply> decision = decide(*core_, now_);
    if (!Settle(decision.outcome)) return std::nullopt;
    return std::move(decision.reply);
  }

  void Pass(int64_t us) {
    now_.monotonic_us += us;
    now_.wall_us += us;
    Ask<Empty>([](Core& core, Now now) { return core.Tick(now); });
  }

  const Tables& tables() const { return core_->tables(); }
  int64_t writes() const { return writes_; }
  int64_t deaths() const { return deaths_; }

 private:
  bool Settle(const Outcome& outcome) {
    if (!outcome.rows.empty()) {
      ++writes_;
      const bool dies = death_ != Death::kNever && writes_ == at_write_;
      if (dies && death_ == Death::kBeforeRows) return Die();
      const absl::Status status = journal_->Write(outcome.rows);
      EXPECT_TRUE(status.ok()) << status;
      if (dies) return Die();
    }
    core_->Accept(outcome);
    EXPECT_EQ(Dump(core_->tables()), Dump(journal_->tables()));
    return true;
  }

  // What SIGKILL leaves behind: the files as they are, with their log.
  bool Die() {
    ++deaths_;
    const std::string from = Path();
    ++lives_;
    for (const char* suffix : {"", "-wal"})
      if (std::filesystem::exists(from + suffix)) std::filesystem::copy_file(from + suffix, Path() + suffix);
    core_ = nullptr;
    journal_ = nullptr;
    Boot();
    return false;
  }

  void Boot() {
    journal_ = Opened(Path());
    ASSERT_NE(journal_, nullptr);
    now_.monotonic_us = 1000 + 77 * lives_;  // another clock
    core_ = std::make_unique<Core>(Options(), journal_->tables(), now_);
    const auto decision = core_->Start(now_);
    Settle(decision.outcome);
  }

  std::string Path() const { return folder_ / ("life" + std::to_string(lives_) + ".db"); }

  const Death death_;
  const int64_t at_write_;
  const Folder folder_;
  int64_t lives_ = 0, writes_ = 0, deaths_ = 0;
  Now now_{1000, 1'700'000'000'000'000};
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Core> core_;
};

// What really happened, whatever the coordinator says.
struct Truth {
  std::map<std::tuple<std::string, int64_t, int32_t>, int> starts;      // by job, generation and rank
  std::map<std::string, std::map<int64_t, std::set<int32_t>>> running;  // by job and generation
  std::map<std::string, int64_t> acknowledged;                          // step of the last commit that was answered
};

// A worker with its ranks: does what it is told, retries what was not answered.
class Worker {
 public:
  Worker(std::string name, Process& process, Truth& truth) : name_(std::move(name)), process_(process), truth_(truth) {}

  void Live() {
    if (incarnation_ == 0) return Register();
    Train();
    HeartbeatRequest request;
    request.speaker = {name_, incarnation_};
    request.epoch = epoch_;
    request.sequence = ++sequence_;
    for (const auto& [key, report] : ranks_) request.ranks.push_back(report);
    const auto reply = process_.Ask<HeartbeatReply>([&](Core& core, Now now) { return core.Heartbeat(now, request); });
    if (!reply.has_value()) return;
    ASSERT_TRUE(reply->ok()) << reply->status();
    epoch_ = (*reply)->epoch;
    if (!(*reply)->again) Follow(**reply);
  }

  bool fail_next = false;  // one of its ranks fails at its next step

 private:
  using Key = std::tuple<std::string, int64_t, int32_t>;

  void Register() {
    RegisterRequest request{name_, name_, 2, "nonce-" + name_, ""};
    const auto reply = process_.Ask<RegisterReply>([&](Core& core, Now now) { return core.Register(now, request); });
    if (!reply.has_value()) return;
    ASSERT_TRUE(reply->ok()) << reply->status();
    incarnation_ = (*reply)->incarnation;
    epoch_ = (*reply)->epoch;
  }

  void Train() {
    for (auto& [key, report] : ranks_) {
      if (report.state == RankState::kStarting) report.state = RankState::kRunning;
      if (report.state != RankState::kRunning) continue;
      if (fail_next) {
        fail_next = false;
        End(report, RankState::kFailed);
        report.reason = "planted";
        continue;
      }
      if (report.progress.step % kCommitEvery == 0 && report.rank == 0 && report.progress.step > 0 && !Commit(report))
        continue;
      if (++report.progress.step >= kSteps) End(report, RankState::kFinished);
    }
  }

  // False: to be tried again at the next heartbeat.
  bool Commit(const RankReport& report) {
    const CommitRequest request{
        {name_, incarnation_}, report.job, {report.generation, report.progress.step, "0123456789abcdef"}};
    const auto reply = process_.Ask<Empty>([&](Core& core, Now now) { return core.Commit(now, request); });
    if (!reply.has_value()) return false;
    if (reply->ok()) truth_.acknowledged[report.job] = report.progress.step;
    return true;
  }

  void End(RankReport& report, RankState state) {
    report.state = state;
    truth_.running[report.job][report.generation].erase(report.rank);
  }

  void Follow(const HeartbeatReply& reply) {
    std::set<std::pair<std::string, int64_t>> assigned;
    for (const Assignment& assignment : reply.assignments) {
      assigned.insert({assignment.job, assignment.generation});
      if (assignment.action == Action::kRun)
        Run(assignment);
      else
        for (auto& [key, report] : ranks_)
          if (report.job == assignment.job && Alive(report.state)) End(report, RankState::kStopped);
    }
    for (auto it = ranks_.begin(); it != ranks_.end();) {
      RankReport& report = it->second;
      if (assigned.count({report.job, report.generation}) == 0) {
        if (Alive(report.state)) End(report, RankState::kStopped);
        it = ranks_.erase(it);
      } else {
        ++it;
      }
    }
  }

  void Run(const Assignment& assignment) {
    for (const int32_t rank : assignment.ranks) {
      const Key key = {assignment.job, assignment.generation, rank};
      if (ranks_.count(key) > 0) continue;
      ++truth_.starts[key];
      auto& running = truth_.running[assignment.job];
      running[assignment.generation].insert(rank);
      for (const auto& [generation, alive] : running)
        EXPECT_TRUE(generation == assignment.generation || alive.empty())
            << "generation " << generation << " still runs when " << assignment.generation << " starts";
      RankReport& report = ranks_[key];
      report.job = assignment.job;
      report.generation = assignment.generation;
      report.rank = rank;
      report.progress.step = assignment.resume ? assignment.resume->step : 0;
    }
  }

  const std::string name_;
  Process& process_;
  Truth& truth_;
  int64_t incarnation_ = 0, epoch_ = 0, sequence_ = 0;
  std::map<Key, RankReport> ranks_;
};

contract::JobSpec StorySpec() {
  contract::JobSpec spec;
  spec.name = "story";
  spec.data = 4;
  spec.min_data = 4;
  spec.idempotency_key = "once";
  return spec;
}

// A job is submitted, loses a rank on the way, and is trained to its end. Returns how many writes that took.
int64_t TellStory(Process::Death death, int64_t at_write) {
  Process process(death, at_write);
  Truth truth;
  Worker a("a", process, truth), b("b", process, truth);
  std::optional<absl::StatusOr<SubmitReply>> submitted;
  const JobRow* job = nullptr;
  for (int second = 0; second < 60; ++second) {
    if (!submitted.has_value())
      submitted = process.Ask<SubmitReply>([](Core& core, Now now) { return core.Submit(now, {StorySpec()}); });
    if (second == 8) b.fail_next = true;
    a.Live();
    b.Live();
    process.Pass(kSecond / 2);
    job = process.tables().FindJob("story-1");
    if (job != nullptr && job->state == JobState::kDone) break;
  }
  EXPECT_EQ(process.deaths(), death == Process::Death::kNever ? 0 : 1);
  EXPECT_EQ(process.tables().jobs().size(), 1u);  // the submission was tried again
  EXPECT_TRUE(job != nullptr && job->state == JobState::kDone) << (job == nullptr ? "no job" : job->reason);
  if (job == nullptr) return 0;
  EXPECT_EQ(job->generation, 2);  // the planted fault; no death of the coordinator made another one
  EXPECT_EQ(job->restarts, 1);
  EXPECT_EQ(truth.starts.size(), 8u);
  for (const auto& [key, starts] : truth.starts)
    EXPECT_EQ(starts, 1) << "rank " << std::get<2>(key) << " of generation " << std::get<1>(key);
  const CommitRow* commit = process.tables().LastCommit("story-1");
  EXPECT_TRUE(commit != nullptr && commit->point.step >= truth.acknowledged["story-1"]);
  return process.writes();
}

TEST(Restart, AtEveryWriteRunningJobsAreAdoptedAndNothingIsStartedTwiceOrLost) {
  const int64_t writes = TellStory(Process::Death::kNever, 0);
  ASSERT_GT(writes, 10);
  for (int64_t at = 1; at <= writes; ++at)
    for (const Process::Death death : {Process::Death::kBeforeRows, Process::Death::kBeforeAnswer}) {
      SCOPED_TRACE("dies at write " + std::to_string(at) +
                   (death == Process::Death::kBeforeRows ? ", before its rows" : ", before the answer"));
      TellStory(death, at);
    }
}

// The generation before the restart stays what it was: refused.
TEST(Restart, AStaleGenerationIsRefusedByTheNextProcessToo) {
  const Folder folder;
  const std::string path = folder / "journal.db";
  const WorkerRow worker = SampleWorker("a");
  JobRow job = Running(SampleJob(1), worker, 2);
  job.resume = CommitPoint{1, 50, "0123456789abcdef"};
  Changes changes;
  changes.workers = {worker};
  changes.jobs = {job};
  changes.commits = {{job.id, *job.resume, 0}};
  ASSERT_TRUE(Opened(path)->Write(changes).ok());
  const auto journal = Opened(path);
  const Now now{5, 5};
  Core core(Options(), journal->tables(), now);
  const auto start = core.Start(now);
  ASSERT_TRUE(journal->Write(start.outcome.rows).ok());
  core.Accept(start.outcome);
  CommitRequest request;
  request.speaker = {"a", 1};
  request.job = job.id;
  request.point = {1, 60, "0123456789abcdef"};
  const auto stale = core.Commit(now, request);
  core.Accept(stale.outcome);
  EXPECT_TRUE(Says(stale.reply.status(), absl::StatusCode::kFailedPrecondition, "a stale generation is refused"));
  request.point.generation = 2;
  const auto current = core.Commit(now, request);
  EXPECT_TRUE(current.reply.ok()) << current.reply.status();
  core.Drop(current.outcome);
}

}  // namespace
}  // namespace filigree::coordinator
