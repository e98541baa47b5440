// Ranks that stop answering or stop moving are named by those that are left; ranks that work are left alone.

#include "worker/parallel/watchdog.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/ranks.h"

namespace filigree::parallel {
namespace {

using testing::HasSubstr;

struct Heard {
  std::mutex mutex;
  std::vector<std::string> reports;
  std::vector<int> speakers;
  void Add(const std::string& report, int speaker) {
    const std::lock_guard lock(mutex);
    reports.push_back(report);
    speakers.push_back(speaker);
  }
};

Watchdog::Options Quick(Heard& heard, std::promise<void>* done) {
  Watchdog::Options options;
  options.stuck_after = 0.3;
  options.interval = 0.02;
  options.on_failure = [&heard, done](const std::string& report, int speaker) {
    heard.Add(report, speaker);
    if (done != nullptr) done->set_value();
  };
  return options;
}

TEST(Watchdog, RanksThatWorkAreLeftAlone) {
  Heard heard;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    const auto watchdog = Watchdog::Start(**world, Quick(heard, nullptr));
    ASSERT_TRUE(watchdog.ok()) << watchdog.status();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE((*world)->Agree(absl::OkStatus()).ok());
  });
  EXPECT_TRUE(heard.reports.empty()) << heard.reports.front();
}

// Rank 0 stands still, so that another one has to say it.
TEST(Watchdog, ARankThatStandsStillInAStepIsNamedAndThoseThatWaitAreNot) {
  Heard heard;
  std::vector<int> stuck;  // of the one that is to be: nobody else writes
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    std::promise<void> noticed;
    Watchdog::Options options = Quick(heard, &noticed);
    options.on_stuck = [&, on_failure = options.on_failure](const std::string& report, int speaker) {
      stuck.push_back((*world)->rank());
      on_failure(report, speaker);
    };
    const auto watchdog = Watchdog::Start(**world, options);
    ASSERT_TRUE(watchdog.ok()) << watchdog.status();
    Progress& progress = (*world)->progress();
    progress.StepDone(0.01);
    progress.Enter("training", 7, Progress::Kind::kOfStep);
    const auto waiting = (*world)->rank() == 0 ? nullptr : std::make_unique<Progress::Waiting>(progress);
    noticed.get_future().wait();
  });
  EXPECT_THAT(stuck, testing::ElementsAre(0));
  ASSERT_EQ(heard.reports.size(), 3);
  for (const std::string& report : heard.reports) {
    EXPECT_THAT(report, HasSubstr("rank 0 on "));
    EXPECT_THAT(report, HasSubstr("in training of step 7"));
    EXPECT_THAT(report, testing::Not(HasSubstr("rank 1")));
    EXPECT_THAT(report, testing::Not(HasSubstr("rank 2")));
  }
  EXPECT_THAT(heard.speakers, testing::Each(1));
}

// A phase may take as long as it likes while its tasks are done one after another.
TEST(Watchdog, ARankWhosePoolWorksIsNotStuck) {
  Heard heard;
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    std::promise<void> noticed;
    std::future<void> complaint = noticed.get_future();
    const auto watchdog = Watchdog::Start(**world, Quick(heard, &noticed));
    ASSERT_TRUE(watchdog.ok()) << watchdog.status();
    Progress& progress = (*world)->progress();
    progress.StepDone(0.01);
    progress.Enter("training", 7, Progress::Kind::kOfStep);
    // More than three times stuck_after in all: nobody complains meanwhile.
    for (int i = 0; i < 100 && complaint.wait_for(std::chrono::milliseconds(10)) == std::future_status::timeout; ++i) {
      progress.work_done()->fetch_add(1);
    }
  });
  EXPECT_TRUE(heard.reports.empty()) << heard.reports.front();
}

TEST(Watchdog, ARankThatIsGoneIsNamed) {
  Heard heard;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    if ((*world)->rank() == 2) {  // its watchdog's group is made and never answers
      ASSERT_TRUE((*world)->all().Split(0, 2).ok());
      return;
    }
    std::promise<void> noticed;
    const auto watchdog = Watchdog::Start(**world, Quick(heard, &noticed));
    ASSERT_TRUE(watchdog.ok()) << watchdog.status();
    noticed.get_future().wait();
  });
  ASSERT_EQ(heard.reports.size(), 2);
  for (const std::string& report : heard.reports) EXPECT_THAT(report, HasSubstr("rank 2"));
  EXPECT_THAT(heard.speakers, testing::Each(Watchdog::kUnknownSpeaker));
}

TEST(Watchdog, RanksThatAllWaitAreAllNamed) {
  Heard heard;
  testing_support::RunRanks(2, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    std::promise<void> noticed;
    const auto watchdog = Watchdog::Start(**world, Quick(heard, &noticed));
    Progress& progress = (*world)->progress();
    progress.StepDone(0.01);
    progress.Enter("training", 3, Progress::Kind::kOfStep);
    const Progress::Waiting waiting(progress);
    noticed.get_future().wait();
  });
  ASSERT_EQ(heard.reports.size(), 2);
  EXPECT_THAT(heard.reports[0], HasSubstr("all ranks wait for each other"));
  EXPECT_THAT(heard.speakers, testing::Each(0));
}

TEST(Watchdog, ARankThatEndedWhileOthersWaitForItIsNamed) {
  Heard heard;
  testing_support::RunRanks(3, [&](std::unique_ptr<comm::Transport> transport) {
    const auto world = World::Make(config::Settings(), std::move(transport));
    ASSERT_TRUE(world.ok()) << world.status();
    std::promise<void> noticed;
    auto watchdog = Watchdog::Start(**world, Quick(heard, &noticed));
    ASSERT_TRUE(watchdog.ok()) << watchdog.status();
    if ((*world)->rank() == 1) return;  // and its watchdog waits for the others'
    Progress& progress = (*world)->progress();
    progress.StepDone(0.01);
    progress.Enter("training", 3, Progress::Kind::kOfStep);
    const Progress::Waiting waiting(progress);
    noticed.get_future().wait();
  });
  ASSERT_EQ(heard.reports.size(), 3);
  for (const std::string& report : heard.reports) {
    EXPECT_THAT(report, testing::StartsWith("rank 1 on "));
    EXPECT_THAT(report, HasSubstr("ended while others wait for it: rank 0 on "));
  }
  EXPECT_THAT(heard.speakers, testing::Each(0));
}

// However long it is: a step of a large model may take minutes, and whoever would end its process loses a healthy rank.
TEST(AwaitUnlessStuck, WhoComputesOnIsAwaitedAndWhoDoesNotIsNot) {
  Progress progress;
  std::atomic<bool> over{false};
  std::thread computing([&] {
    for (int i = 0; i < 60; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      progress.work_done()->fetch_add(1);
    }
    over = true;
  });
  EXPECT_TRUE(AwaitUnlessStuck(over, progress, /*patience=*/0.3));
  computing.join();
  std::atomic<bool> never{false};
  EXPECT_FALSE(AwaitUnlessStuck(never, progress, 0.1));
}

}  // namespace
}  // namespace filigree::parallel
