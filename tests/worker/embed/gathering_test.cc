// What every rank tells reaches all of them, to the last word of each, beside what they do otherwise.

#include "worker/embed/gathering.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/support/ranks.h"

namespace filigree::embed {
namespace {

TEST(Gathering, TheLastWordOfEveryRankIsHeardByAll) {
  for (const int ranks : {1, 2, 3}) {
    testing_support::RunRanks(ranks, [&](std::unique_ptr<comm::Transport> transport) {
      const auto world = parallel::World::Make(config::Settings(), std::move(transport));
      ASSERT_TRUE(world.ok()) << world.status();
      std::atomic<int> word{0};
      std::vector<std::string> heard;  // of the gathering's thread
      Gathering::Options options;
      options.interval = std::chrono::milliseconds(5);
      options.tell = [&] { return fmt::format("{} says {}", (*world)->rank(), word.load()); };
      options.hear = [&](const std::vector<std::string>& all) { heard = all; };
      {
        const auto gathering = Gathering::Start(**world, options);
        ASSERT_TRUE(gathering.ok()) << gathering.status();
        // Ranks do their own business meanwhile, and leave at different times.
        for (int i = 0; i < 20 * (1 + (*world)->rank()); ++i) word = i;
        for (int i = 0; i < 20; ++i) ASSERT_TRUE((*world)->Agree(absl::OkStatus()).ok());
        word = 1000 + (*world)->rank();
      }
      ASSERT_EQ(heard.size(), static_cast<size_t>(ranks));
      for (int r = 0; r < ranks; ++r) EXPECT_EQ(heard[r], fmt::format("{} says {}", r, 1000 + r));
    });
  }
}

}  // namespace
}  // namespace filigree::embed
