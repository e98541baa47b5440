#include "worker/telemetry/step_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <utility>

#include "worker/telemetry/read_log.h"

// The log of a run through stops, kills and full disks.

namespace filigree::telemetry {
namespace {

class StepLogTest : public ::testing::Test {
 protected:
  StepLogTest() : dir_(std::filesystem::path(testing::TempDir()) / ("filigree_step_log_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    null_ = std::fopen("/dev/null", "w");
  }
  ~StepLogTest() override {
    std::fclose(null_);
    std::filesystem::remove_all(dir_);
  }

  LogOptions Options(int64_t completed, std::function<absl::Status()> may_write = {}) {
    return {dir_, 1000, completed, Output::kLines, null_, [this] { return now_ += 0.5; }, std::move(may_write)};
  }
  std::unique_ptr<StepLog> Open(int64_t completed) {
    auto log = StepLog::Open(Options(completed));
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? std::move(*log) : nullptr;
  }
  std::string path() const { return dir_ / StepLog::kFileName; }
  std::string Text() const {
    std::ostringstream text;
    text << std::ifstream(path(), std::ios::binary).rdbuf();
    return text.str();
  }

  // What a run writes in steps [from, to): an evaluation every 10, a checkpoint every 20.
  static void Train(StepLog& log, int64_t from, int64_t to) {
    for (int64_t s = from; s < to; ++s) {
      StepRecord record;
      record.step = s;
      record.loss = s % 37 == 5 ? std::nan("") : 3 + std::sin(static_cast<double>(s) * 1.7);
      EXPECT_TRUE(log.Step(record).ok());
      if ((s + 1) % 10 == 0) {
        EXPECT_TRUE(log.Eval({s + 1, 3, 1, 10, 1, {}}).ok());
      }
      if ((s + 1) % 20 == 0) {
        EXPECT_TRUE(log.Checkpoint({s + 1, 0.1, 10, "c"}).ok());
      }
    }
  }

  std::filesystem::path dir_;
  std::FILE* null_;
  double now_ = 1.7e9;
};

TEST_F(StepLogTest, FillsInScoreStartAndSeconds) {
  auto log = Open(0);
  RunRecord run;
  run.started = -1;
  ASSERT_TRUE(log->Run(run).ok());
  Train(*log, 0, 9);
  StepRecord unusual;
  unusual.step = 9;
  unusual.loss = 100;
  unusual.z_score = -7;
  ASSERT_TRUE(log->Step(unusual).ok());
  ASSERT_TRUE(log->End({10, -1, "done"}).ok());
  const RunLog back = *ReadLog(path());
  EXPECT_EQ(back.runs.at(0).started, 1.7e9 + 0.5);
  EXPECT_GT(back.steps.at(9).z_score, 20);
  EXPECT_GT(back.ends.at(0).seconds, 4);
}

// Stopped anywhere and resumed from the last checkpoint, a run has the log of an undisturbed one.
TEST_F(StepLogTest, ResumedLogIsThatOfAnUndisturbedRun) {
  Train(*Open(0), 0, 400);
  const std::string whole = Text();
  ASSERT_GT(whole.size(), 10000U);
  for (const int64_t stop : {21, 150, 333, 399}) {
    const int64_t saved = stop / 20 * 20;
    Train(*Open(0), 0, stop);
    auto log = Open(saved);
    EXPECT_EQ(log->damaged_lines(), 0);
    Train(*log, saved, 400);
    EXPECT_EQ(Text(), whole) << stop;
  }
}

TEST_F(StepLogTest, CompletedZeroStartsAnew) {
  Train(*Open(0), 0, 40);
  Open(0);
  EXPECT_EQ(Text(), "");
}

TEST_F(StepLogTest, DropsTornAndDamagedLines) {
  Train(*Open(0), 0, 40);
  const std::string whole = Text();
  std::ofstream(path(), std::ios::app) << whole.substr(0, 50);
  EXPECT_EQ(Open(40)->damaged_lines(), 0);
  EXPECT_EQ(Text(), whole);

  const size_t middle = whole.find('\n', whole.size() / 2) + 1;
  std::ofstream(path()) << whole.substr(0, middle) << "{broken\n\n" << whole.substr(middle) << "{\"kind\":\"st";
  auto log = Open(40);
  EXPECT_EQ(log->damaged_lines(), 2);
  EXPECT_EQ(Text(), whole);
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
  Train(*log, 40, 60);
  EXPECT_EQ(ReadLog(path())->steps.size(), 60U);
}

TEST_F(StepLogTest, KeepsNotesOfTheStepItResumesAt) {
  {
    auto log = Open(0);
    Train(*log, 0, 20);
    ASSERT_TRUE(log->Note({20, "kept"}).ok());
    Train(*log, 20, 25);
    ASSERT_TRUE(log->Note({25, "dropped"}).ok());
    ASSERT_TRUE(log->End({25, 0, "stopped"}).ok());
  }
  Open(20);
  const RunLog log = *ReadLog(path());
  ASSERT_EQ(log.notes.size(), 1U);
  EXPECT_EQ(log.notes[0].text, "kept");
  EXPECT_EQ(log.steps.size(), 20U);
  EXPECT_EQ(log.checkpoints.size(), 1U);
  EXPECT_TRUE(log.ends.empty());
}

// Two processes that both think the run is theirs; `owner` says whose it is.
TEST_F(StepLogTest, WhoWasTakenForDeadWritesNowhere) {
  Train(*Open(0), 0, 400);
  const std::string whole = Text();
  int owner = 1;
  const auto of = [&](int process, int64_t completed) {
    return *StepLog::Open(Options(completed, [&owner, process] {
      return process == owner ? absl::OkStatus() : absl::AbortedError("it is another's");
    }));
  };
  auto first = of(1, 0);
  Train(*first, 0, 100);
  const int held = ::open(path().c_str(), O_RDWR);  // as a process that is past its question already
  owner = 2;
  auto second = of(2, 80);
  Train(*second, 80, 150);
  StepRecord late;
  late.step = 101;
  EXPECT_TRUE(absl::IsAborted(first->Step(late)));
  EXPECT_EQ(::write(held, "late\n", 5), 5);
  ::close(held);
  Train(*second, 150, 400);
  EXPECT_EQ(Text(), whole);
  const auto refused = StepLog::Open(Options(0, [] { return absl::AbortedError("it is another's"); }));
  EXPECT_TRUE(absl::IsAborted(refused.status()));
  EXPECT_EQ(Text(), whole);
}

TEST_F(StepLogTest, ALogThatALateOneHasReplacedIsPutBack) {
  Train(*Open(0), 0, 60);
  const std::string whole = Text();
  auto log = *StepLog::Open(Options(0, [] { return absl::OkStatus(); }));
  Train(*log, 0, 50);
  std::ofstream(dir_ / "other") << "{}\n";
  std::filesystem::rename(dir_ / "other", path());
  Train(*log, 50, 60);
  EXPECT_EQ(Text(), whole);
  EXPECT_EQ(log->last_step(), 59);
  // What processes leave on their way goes with the next start.
  std::ofstream(path() + ".0123.new") << "half";
  auto next = *StepLog::Open(Options(60, [] { return absl::OkStatus(); }));
  EXPECT_EQ(next->last_step(), 59);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 1u);
}

TEST_F(StepLogTest, SaysWhyAFolderCannotBeUsed) {
  LogOptions options = Options(0);
  options.dir = dir_ / "missing";
  const auto missing = StepLog::Open(options);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(missing.status().message()).find("missing"), std::string::npos);
  if (geteuid() == 0) return;  // root may write anywhere
  std::filesystem::permissions(dir_, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_EQ(StepLog::Open(Options(0)).status().code(), absl::StatusCode::kPermissionDenied);
  std::filesystem::permissions(dir_, std::filesystem::perms::owner_all);
}

// A limit on the size of files stands for a full disk.
TEST_F(StepLogTest, FullDiskLosesNothing) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  auto log = Open(0);
  Train(*log, 0, 50);
  const std::string before = Text();
  rlimit full = unlimited;
  full.rlim_cur = before.size() + 100;  // less than a record
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  for (int64_t s = 50; s < 60; ++s) {
    StepRecord record;
    record.step = s;
    const absl::Status status = log->Step(record);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(Text(), before);
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  Train(*log, 60, 70);
  const RunLog back = *ReadLog(path());
  ASSERT_EQ(back.steps.size(), 70U);
  for (int64_t s = 0; s < 70; ++s) EXPECT_EQ(back.steps[static_cast<size_t>(s)].step, s);
  EXPECT_EQ(back.damaged_lines, 0);
}

// The disk is full before a later start of the run, which owns the log (a generation of a coordinator's job), has made
// its own.
TEST_F(StepLogTest, ADiskThatIsFullAtTheStartLosesNothing) {
  Train(*Open(0), 0, 400);
  const std::string whole = Text();
  Train(*Open(0), 0, 150);
  const std::string before = Text();
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  rlimit full = unlimited;
  full.rlim_cur = before.size() / 3;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  int owner = 1;
  auto log = StepLog::Open(
      Options(140, [&owner] { return owner == 1 ? absl::OkStatus() : absl::AbortedError("it is another's"); }));
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ((*log)->last_step(), 139);
  for (int64_t s = 140; s < 143; ++s) {
    StepRecord record;
    record.step = s;
    record.loss = 3 + std::sin(static_cast<double>(s) * 1.7);
    EXPECT_EQ((*log)->Step(record).code(), absl::StatusCode::kResourceExhausted);
  }
  owner = 2;
  EXPECT_TRUE(absl::IsAborted((*log)->Note({143, "of one that lost the run"})));
  EXPECT_EQ(Text(), before);
  owner = 1;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  Train(**log, 143, 400);
  std::string text = Text();
  const size_t note = text.find("{\"kind\":\"note\"");
  ASSERT_NE(note, std::string::npos);
  text.erase(note, text.find('\n', note) + 1 - note);
  EXPECT_EQ(text, whole);
}

// What waits for space is bounded; the oldest is given up.
TEST_F(StepLogTest, WhatWaitsIsBounded) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  auto log = Open(0);
  rlimit full = unlimited;
  full.rlim_cur = 10;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const std::string mega(1 << 20, 'x');
  for (int i = 0; i < 40; ++i) EXPECT_FALSE(log->Note({i, mega}).ok());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  ASSERT_TRUE(log->Note({40, "last"}).ok());
  const RunLog back = *ReadLog(path());
  ASSERT_GE(back.notes.size(), 10U);
  EXPECT_LE(back.notes.size(), 17U);
  EXPECT_EQ(back.notes.back().text, "last");
  EXPECT_EQ(back.notes[back.notes.size() - 2].step, 39);
  EXPECT_EQ(back.damaged_lines, 0);
}

// Longer than what is copied at a time.
TEST_F(StepLogTest, ALongLogIsTakenOverWhole) {
  {
    const auto log = Open(0);
    for (int64_t s = 0; s < 3; ++s) {
      StepRecord record;
      record.step = s;
      ASSERT_TRUE(log->Step(record).ok());
      ASSERT_TRUE(log->Note({s + 1, std::string(900'000, 'x')}).ok());
    }
  }
  const std::string before = Text();
  ASSERT_GT(before.size(), size_t{2} << 20);
  const auto log = StepLog::Open(Options(3, [] { return absl::OkStatus(); }));
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(Text(), before);
}

}  // namespace
}  // namespace filigree::telemetry
