#include "worker/parallel/store_membership.h"

#include <gtest/gtest.h>

#include <future>
#include <map>
#include <string>
#include <thread>

// How processes agree who goes on. They are threads here and form no groups.

namespace filigree::parallel {
namespace {

using std::chrono::milliseconds;
using Store = std::shared_ptr<comm::KeyValueStore>;

StoreMembershipOptions Quick() {
  StoreMembershipOptions options;
  options.grace = milliseconds(1500);
  options.settle = milliseconds(50);
  return options;
}

config::Settings WithTensor(int64_t tensor, int64_t data = 0) {
  config::Settings settings;
  settings.train.shards = 4;
  settings.model.tensor_groups = tensor;
  settings.parallel.tensor = tensor;
  settings.parallel.data = data;
  return settings;
}

std::unique_ptr<Membership> Process(int rank, int ranks, const Store& store, const config::Settings& settings = {},
                                    const StoreMembershipOptions& options = Quick()) {
  Launch launch;
  launch.rank = rank;
  launch.ranks = ranks;
  launch.generation = "job";
  return StoreMembership(launch, settings, store, options);
}

Generation FirstOf(int rank, int ranks) { return *Process(rank, ranks, comm::MemoryStore())->First(); }

// What those of `left` find who lose the others of `lost`.
std::vector<absl::StatusOr<Generation>> AfterLoss(const Store& store, const std::vector<int>& left,
                                                  const Generation& lost, int ranks, const config::Settings& settings) {
  std::vector<std::future<absl::StatusOr<Generation>>> asked;
  asked.reserve(left.size());
  for (const int process : left) {
    asked.push_back(
        std::async(std::launch::async, [=] { return Process(process, ranks, store, settings)->Next(lost, "a rank"); }));
  }
  std::vector<absl::StatusOr<Generation>> found;
  found.reserve(left.size());
  for (auto& next : asked) found.push_back(next.get());
  return found;
}

TEST(StoreMembership, TheFirstGenerationIsAllThatWereStarted) {
  const Generation first = FirstOf(2, 3);
  EXPECT_EQ(first.number, 0);
  EXPECT_EQ(first.rank, 2);
  EXPECT_EQ(first.members, (std::vector<int>{0, 1, 2}));
}

TEST(StoreMembership, ThoseWhoAreLeftAgreeAndKeepTheirOrder) {
  const auto found = AfterLoss(comm::MemoryStore(), {0, 2, 3}, FirstOf(0, 4), 4, WithTensor(1));
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(found[i].ok()) << found[i].status();
    EXPECT_EQ(found[i]->number, 1);
    EXPECT_EQ(found[i]->members, (std::vector<int>{0, 2, 3}));
    EXPECT_EQ(found[i]->rank, static_cast<int>(i));
  }
}

TEST(StoreMembership, SeveralLossesAtOnceAndOneAfterAnother) {
  const Store store = comm::MemoryStore();
  const auto first = AfterLoss(store, {1, 3}, FirstOf(1, 4), 4, WithTensor(1));
  ASSERT_TRUE(first[0].ok()) << first[0].status();
  EXPECT_EQ(first[0]->members, (std::vector<int>{1, 3}));
  const auto second = AfterLoss(store, {3}, *first[1], 4, WithTensor(1));
  ASSERT_TRUE(second[0].ok()) << second[0].status();
  EXPECT_EQ(second[0]->number, 2);
  EXPECT_EQ(second[0]->members, std::vector<int>{3});
  EXPECT_EQ(second[0]->rank, 0);
}

TEST(StoreMembership, OneThatAnnouncedItselfIsWaitedForThoughItIsBusy) {
  const Store store = comm::MemoryStore();
  const Generation first = FirstOf(0, 4);
  Process(2, 4, store)->Announce(first);
  const auto found = AfterLoss(store, {0}, first, 4, WithTensor(1));
  ASSERT_TRUE(found[0].ok()) << found[0].status();
  EXPECT_EQ(found[0]->members, (std::vector<int>{0, 2}));
}

// Who did not reach whom in the last meeting, and who goes on.
TEST(StoreMembership, WhoDoNotReachEachOtherAreNotBothAsked) {
  struct Case {
    const char* name;
    std::map<int, std::string> here;  // of four
    std::vector<int> members, idle;
  };
  const Case cases[] = {
      {"a pair", {{1, "here without 2"}, {2, "here without 1"}}, {0, 1, 3}, {2}},
      {"one side of it says so", {{2, "here without 0"}}, {0, 1, 3}, {2}},
      {"one that nobody reaches",
       {{0, "here without 1"}, {2, "here without 1"}, {3, "here without 1"}},
       {0, 2, 3},
       {1}},
      {"one that reaches nobody", {{0, "here without 1 2 3"}}, {1, 2, 3}, {0}},
      {"two halves", {{0, "here without 2 3"}, {1, "here without 2 3"}}, {0, 1}, {2, 3}},
      {"a ring", {{0, "here without 2"}, {1, "here without 3"}}, {0, 1}, {2, 3}},
      {"itself", {{1, "here without 1"}}, {0, 2, 3}, {1}},
      {"no words of ours",
       {{0, "here without 9"}, {1, "without 2"}, {2, "here without x 0"}, {3, "here without 0 -1"}},
       {0, 1, 2, 3},
       {}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Store store = comm::MemoryStore();
    for (const auto& [process, text] : one.here) {
      ASSERT_EQ(store->Set("job/job/1/here/" + std::to_string(process), text), absl::OkStatus());
    }
    for (int process = 0; process < 4; ++process) (void)store->Set("job/job/1/here/" + std::to_string(process), "here");
    const auto found = AfterLoss(store, {one.members[0]}, FirstOf(one.members[0], 4), 4, WithTensor(1));
    ASSERT_TRUE(found[0].ok()) << found[0].status();
    EXPECT_EQ(found[0]->members, one.members);
    EXPECT_EQ(found[0]->idle, one.idle);
  }
}

// Three of four ranks that share a model by two: the pair that is whole, and one that idles until it has lost one too.
TEST(StoreMembership, WhoIsNotNeededIdlesUntilItIs) {
  const Store store = comm::MemoryStore();
  const config::Settings settings = WithTensor(2);
  auto idle =
      std::async(std::launch::async, [=] { return Process(0, 4, store, settings)->Next(FirstOf(0, 4), "a rank"); });
  const auto pair = AfterLoss(store, {2, 3}, FirstOf(2, 4), 4, settings);
  ASSERT_TRUE(pair[0].ok()) << pair[0].status();
  EXPECT_EQ(pair[0]->members, (std::vector<int>{2, 3}));
  EXPECT_EQ(pair[0]->idle, std::vector<int>{0});
  EXPECT_EQ(idle.wait_for(milliseconds(300)), std::future_status::timeout);
  const auto next = AfterLoss(store, {3}, *pair[1], 4, settings);
  ASSERT_TRUE(next[0].ok()) << next[0].status();
  EXPECT_EQ(next[0]->members, (std::vector<int>{0, 3}));
  const auto called = idle.get();
  ASSERT_TRUE(called.ok()) << called.status();
  EXPECT_EQ(called->number, 2);
  EXPECT_EQ(called->rank, 0);
}

TEST(StoreMembership, WholeGroupsComeBeforeLowerNumbers) {
  const config::Settings settings = WithTensor(2);
  const Store store = comm::MemoryStore();
  auto idle =
      std::async(std::launch::async, [=] { return Process(2, 6, store, settings)->Next(FirstOf(2, 6), "a rank"); });
  const auto second = AfterLoss(store, {0, 1, 4, 5}, FirstOf(0, 6), 6, settings);  // pairs of which it has lost one
  const auto two = AfterLoss(comm::MemoryStore(), {1, 2, 4, 5}, FirstOf(1, 6), 6, settings);
  const auto both = AfterLoss(comm::MemoryStore(), {1, 2}, FirstOf(1, 4), 4, settings);
  for (const auto* found : {&second, &two, &both}) ASSERT_TRUE((*found)[0].ok()) << (*found)[0].status();
  EXPECT_EQ(second[0]->members, (std::vector<int>{0, 1, 4, 5}));
  EXPECT_EQ(second[0]->idle, std::vector<int>{2});
  EXPECT_EQ(two[0]->members, (std::vector<int>{4, 5, 1, 2}));
  EXPECT_EQ(both[0]->members, (std::vector<int>{1, 2}));
  Process(0, 6, store)->Finish(0);
  EXPECT_EQ(idle.get()->over, 0);
}

TEST(StoreMembership, WhoIdlesEndsWithTheJobOrWhenAsked) {
  const Store store = comm::MemoryStore();
  const config::Settings settings = WithTensor(1, /*data=*/1);
  auto idle =
      std::async(std::launch::async, [=] { return Process(2, 3, store, settings)->Next(FirstOf(2, 3), "a rank"); });
  StoreMembershipOptions asked = Quick();
  asked.stop_requested = [] { return true; };
  auto stopped = std::async(std::launch::async,
                            [=] { return Process(1, 3, store, settings, asked)->Next(FirstOf(1, 3), "a rank"); });
  const auto goes_on = AfterLoss(store, {0}, FirstOf(0, 3), 3, settings);
  ASSERT_TRUE(goes_on[0].ok()) << goes_on[0].status();
  EXPECT_EQ(goes_on[0]->members, std::vector<int>{0});
  EXPECT_EQ(stopped.get()->over, kStoppedExitCode);
  Process(0, 3, store)->Finish(5);
  EXPECT_EQ(idle.get()->over, 5);
}

// It was taken for lost and comes back when the others have gone on: it must not form a second generation 1.
TEST(StoreMembership, WhoComesTooLateHasNoPart) {
  const Store store = comm::MemoryStore();
  const auto found = AfterLoss(store, {0, 1}, FirstOf(0, 3), 3, WithTensor(1));
  ASSERT_TRUE(found[0].ok()) << found[0].status();
  EXPECT_EQ(found[0]->members, (std::vector<int>{0, 1}));
  auto late = std::async(std::launch::async, [=] { return Process(2, 3, store)->Next(FirstOf(2, 3), "a rank"); });
  EXPECT_EQ(late.wait_for(milliseconds(700)), std::future_status::timeout);
  Process(0, 3, store)->Finish(0);
  EXPECT_EQ(late.get()->over, 0);
}

TEST(StoreMembership, TooFewForTheTensorSizeSaySo) {
  const auto found = AfterLoss(comm::MemoryStore(), {1}, FirstOf(1, 2), 2, WithTensor(2));
  EXPECT_EQ(found[0].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(found[0].status().message()).find("too few for parallel.tensor 2"), std::string::npos)
      << found[0].status();
}

// What is in the store may be anything.
TEST(StoreMembership, DecisionsThatAreNoneAreRefused) {
  for (const char* text : {"", "members", "members idle 0", "members 0 0", "members 7", "members -1", "members 0 x",
                           "0 1", "members 0 idle 0", "members 99999999999999"}) {
    const Store store = comm::MemoryStore();
    ASSERT_EQ(store->Set("job/job/1/who", text), absl::OkStatus());
    const auto found = AfterLoss(store, {0}, FirstOf(0, 2), 2, WithTensor(1));
    EXPECT_EQ(found[0].status().code(), absl::StatusCode::kUnavailable) << text;
  }
}

}  // namespace
}  // namespace filigree::parallel
