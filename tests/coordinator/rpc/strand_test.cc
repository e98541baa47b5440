#include "coordinator/rpc/strand.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace filigree::coordinator {
namespace {

constexpr auto kNoTick = std::chrono::hours(1);

// Keeps the strand busy until it is let go.
class Held {
 public:
  explicit Held(Strand& strand) {
    std::promise<void> begun;
    EXPECT_TRUE(strand
                    .Post([&, go = go_.get_future().share()] {
                      begun.set_value();
                      go.wait();
                    })
                    .ok());
    begun.get_future().wait();
  }
  void LetGo() { go_.set_value(); }

 private:
  std::promise<void> go_;
};

TEST(Strand, RunsWhatIsPostedInItsOrder) {
  std::vector<int> ran;
  Strand strand({100, 100}, kNoTick, [] {});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(strand.Post([&ran, i] { ran.push_back(i); }).ok());
  strand.Stop();
  ASSERT_EQ(ran.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(ran[i], i);
  EXPECT_EQ(strand.Post([] {}).code(), absl::StatusCode::kUnavailable);
}

TEST(Strand, BoundsWhatWaitsByNumber) {
  Strand strand({2, 100}, kNoTick, [] {});
  Held held(strand);
  EXPECT_TRUE(strand.Post([] {}).ok());
  EXPECT_TRUE(strand.Post([] {}).ok());
  EXPECT_EQ(strand.Post([] {}).code(), absl::StatusCode::kResourceExhausted);
  held.LetGo();
  strand.Stop();
}

TEST(Strand, BoundsWhatWaitsByBytesAndCountsThemUntilTheTaskBegins) {
  Strand strand({100, 100}, kNoTick, [] {});
  Held held(strand);
  EXPECT_TRUE(strand.Post([] {}, 60).ok());
  EXPECT_EQ(strand.Post([] {}, 41).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(strand.Post([] {}, 40).ok());
  EXPECT_TRUE(strand.Post([] {}).ok());  // of no size
  held.LetGo();
  std::promise<void> done;
  ASSERT_TRUE(strand.Post([&] { done.set_value(); }).ok());
  done.get_future().wait();
  Held again(strand);
  EXPECT_TRUE(strand.Post([] {}, 100).ok());  // all have been given back
  again.LetGo();
  strand.Stop();
}

TEST(Strand, ATaskLargerThanAllowedHasItsTurnAlone) {
  Strand strand({100, 100}, kNoTick, [] {});
  Held held(strand);
  EXPECT_TRUE(strand.Post([] {}, 500).ok());
  EXPECT_EQ(strand.Post([] {}, 1).code(), absl::StatusCode::kResourceExhausted);
  held.LetGo();
  strand.Stop();
}

}  // namespace
}  // namespace filigree::coordinator
