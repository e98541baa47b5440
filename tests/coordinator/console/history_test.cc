#include "coordinator/console/history.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace filigree::coordinator {
namespace {

Sample At(int64_t step, int64_t generation = 1) {
  Sample sample;
  sample.step = step;
  sample.generation = generation;
  return sample;
}

std::vector<int64_t> StepsOf(const History& history, const std::string& job) {
  std::vector<int64_t> steps;
  for (const Sample& sample : history.SamplesOf(job)) steps.push_back(sample.step);
  return steps;
}

TEST(History, KeepsWhatIsNewAndReplacesWhatIsKnown) {
  History history;
  EXPECT_FALSE(history.LastOf("a-1"));
  history.Add("a-1", At(3));
  Sample again = At(3);
  again.train_loss = 2.5;
  history.Add("a-1", again);
  history.Add("a-1", At(3, 2));
  EXPECT_EQ(StepsOf(history, "a-1"), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(history.SamplesOf("a-1")[0].train_loss, 2.5);
  EXPECT_EQ(history.LastOf("a-1")->generation, 2);
  EXPECT_TRUE(history.SamplesOf("b-2").empty());
}

TEST(History, ThinsEvenlyAndKeepsTheNewest) {
  HistoryLimits limits;
  limits.points = 16;
  History history(limits);
  for (int step = 0; step < 1000; ++step) {
    history.Add("a-1", At(step));
    EXPECT_LE(history.SamplesOf("a-1").size(), limits.points);
    EXPECT_EQ(history.LastOf("a-1")->step, step);
  }
  const std::vector<int64_t> steps = StepsOf(history, "a-1");
  EXPECT_EQ(steps.front(), 0);
  EXPECT_GE(steps.size(), limits.points / 2);
  // No gap is more than twice as long as another, but for the newest, which may be close.
  int64_t least = 1000, most = 0;
  for (size_t i = 1; i + 1 < steps.size(); ++i) {
    EXPECT_GT(steps[i], steps[i - 1]);
    least = std::min(least, steps[i] - steps[i - 1]);
    most = std::max(most, steps[i] - steps[i - 1]);
  }
  EXPECT_LE(most, 2 * least);
}

TEST(History, TheJobThatWasSampledLeastRecentlyGives) {
  HistoryLimits limits;
  limits.bytes = 5 * sizeof(Sample);
  History history(limits);
  for (int step = 0; step < 2; ++step)
    for (const char* job : {"a-1", "b-2"}) history.Add(job, At(step));
  history.Add("a-1", At(2));
  EXPECT_EQ(history.bytes(), limits.bytes);
  history.Add("c-3", At(0));
  EXPECT_TRUE(history.SamplesOf("b-2").empty());
  EXPECT_EQ(history.SamplesOf("a-1").size(), 3u);
  EXPECT_EQ(history.SamplesOf("c-3").size(), 1u);
  EXPECT_EQ(history.bytes(), 4 * sizeof(Sample));
}

TEST(History, EventsAreNumberedAndTheLastOnesKept) {
  HistoryLimits limits;
  limits.events = 5;
  limits.text_bytes = 3;
  History history(limits);
  EXPECT_TRUE(history.EventsAfter(0, 10).empty());
  for (int i = 1; i <= 8; ++i) {
    Event event;
    event.text = std::to_string(i) + "...";
    history.Add(event);
  }
  const auto numbers = [&](int64_t after, size_t most) {
    std::vector<int64_t> found;
    for (const auto& [number, event] : history.EventsAfter(after, most)) {
      EXPECT_EQ(event.text, std::to_string(number) + "..");
      found.push_back(number);
    }
    return found;
  };
  EXPECT_EQ(numbers(0, 10), (std::vector<int64_t>{4, 5, 6, 7, 8}));
  EXPECT_EQ(numbers(6, 10), (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(numbers(0, 2), (std::vector<int64_t>{7, 8}));
  EXPECT_TRUE(numbers(8, 10).empty());
  EXPECT_TRUE(numbers(99, 10).empty());
}

}  // namespace
}  // namespace filigree::coordinator
