#include "coordinator/core/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>
#include <string>

#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

std::vector<std::string> WorkersOf(const std::vector<RankPlace>& places) {
  std::vector<std::string> names;
  names.reserve(places.size());
  for (const RankPlace& place : places) names.push_back(place.worker);
  return names;
}

using Names = std::vector<std::string>;

TEST(Placement, AHostThatHoldsAllWithTheLeastToSpareComesFirst) {
  const Rooms rooms = {{"h1", {{"a", 1, 8}}}, {"h2", {{"b", 1, 4}}}, {"h3", {{"c", 1, 2}}}};
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 4, 1, {})), Names(4, "b"));
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 5, 1, {})), Names(5, "a"));
  EXPECT_EQ(WorkersOf(PlaceRanks({{"h1", {{"a", 1, 7}}}, {"h2", {{"b", 1, 5}}}}, 1, 4, {})), Names(4, "b"));
}

TEST(Placement, WhereNoHostHoldsAllTheLargestComesFirst) {
  const Rooms rooms = {{"h1", {{"a", 1, 2}}}, {"h2", {{"b", 1, 5}}}, {"h3", {{"c", 1, 3}}}};
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 7, 1, {})), (Names{"b", "b", "b", "b", "b", "a", "a"}));
}

TEST(Placement, HostsTheJobWasOnComeBeforeBetterOnes) {
  const Rooms rooms = {{"h1", {{"a", 1, 8}}}, {"h2", {{"b", 7, 2}}}};
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 4, 1, {{"b", 6}})), (Names{"b", "b", "a", "a"}));
}

TEST(Placement, WorkersOfOneHostShareATensorGroup) {
  const Rooms rooms = {{"h1", {{"a", 1, 1}, {"b", 2, 3}}}, {"h2", {{"c", 3, 3}}}};
  EXPECT_EQ(GroupsThatFit(rooms, 4, 10), 1);
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 1, 4, {})), (Names{"a", "b", "b", "b"}));
}

TEST(Placement, CountsWhatFitsUpToWhatIsAsked) {
  const Rooms rooms = {{"h1", {{"a", 1, 7}}}, {"h2", {{"b", 1, 5}, {"c", 1, 0}}}};
  EXPECT_EQ(GroupsThatFit(rooms, 1, 100), 12);
  EXPECT_EQ(GroupsThatFit(rooms, 3, 100), 3);  // two on h1, one on h2: the rests make none
  EXPECT_EQ(GroupsThatFit(rooms, 3, 2), 2);
  EXPECT_EQ(GroupsThatFit(rooms, 8, 100), 0);
  EXPECT_EQ(GroupsThatFit({}, 1, 100), 0);
}

TEST(Placement, RanksThatAreStartedTogetherAreOnOneWorker) {
  const Rooms rooms = {{"h1", {{"a", 1, 3}, {"b", 2, 8}}}, {"h2", {{"c", 3, 5}}}};
  EXPECT_EQ(GroupsThatFit(rooms, 2, 10, Spread::kOneWorker), 4);
  EXPECT_EQ(GroupsThatFit(rooms, 2, 3, Spread::kOneWorker), 3);
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 2, 2, {}, Spread::kOneWorker)), Names(4, "c"));          // the least to spare
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 2, 2, {{"a", 1}}, Spread::kOneWorker)), Names(4, "c"));  // not enough there
  EXPECT_EQ(WorkersOf(PlaceRanks(rooms, 2, 2, {{"b", 2}}, Spread::kOneWorker)), Names(4, "b"));
}

// Whatever there is: groups stay on their host, nobody gets more than he has, and the same is decided again.
TEST(Placement, GroupsNeverSpanHostsAndSlotsAreNeverTakenTwice) {
  constexpr uint64_t kSeed = 99;
  std::printf("seed %lu\n", static_cast<unsigned long>(kSeed));
  std::mt19937_64 dice(kSeed);
  int placed = 0;
  for (int round = 0; round < 500; ++round) {
    Rooms rooms;
    std::map<std::string, std::string> host_of;
    std::map<std::string, int32_t> slots;
    std::vector<RankPlace> before;
    for (uint64_t w = 0; w < 1 + dice() % 9; ++w) {
      const std::string name = fmt::format("w{}", w), host = fmt::format("h{}", dice() % 4);
      rooms[host].push_back({name, 1, static_cast<int32_t>(dice() % 9)});
      host_of[name] = host;
      slots[name] = rooms[host].back().slots;
      if (dice() % 3 == 0) before.push_back({name, 1});
    }
    const auto tensor = static_cast<int32_t>(1 + dice() % 4);
    const int32_t data = GroupsThatFit(rooms, tensor, static_cast<int32_t>(1 + dice() % 8));
    if (data == 0) continue;
    ++placed;
    const std::vector<RankPlace> places = PlaceRanks(rooms, data, tensor, before);
    ASSERT_EQ(places.size(), static_cast<size_t>(data) * tensor);
    for (int32_t group = 0; group < data; ++group) {
      std::set<std::string> hosts;
      for (int32_t t = 0; t < tensor; ++t) hosts.insert(host_of[places[group * tensor + t].worker]);
      EXPECT_EQ(hosts.size(), 1u) << "round " << round << " group " << group;
    }
    for (const RankPlace& place : places) EXPECT_GE(--slots[place.worker], 0) << "round " << round;
    EXPECT_EQ(PlaceRanks(rooms, data, tensor, before), places);
  }
  EXPECT_GT(placed, 300);
}

TEST(Placement, AJobOfOneMpirunWaitsForAWorkerThatHoldsAllOfIt) {
  ScriptedCluster cluster;
  cluster.Join("a", 1, "h");
  cluster.Join("b", 1, "h");
  contract::JobSpec spec = Spec("job", 2, 1, 2);
  spec.backend = contract::Backend::kMpi;
  const std::string job = cluster.Submit(spec);
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);
  EXPECT_EQ(cluster.Job(job).reason, "submitted; backend mpi takes one worker with 2 slots");
  const std::string other = cluster.Submit(Spec("other", 2, 1, 2));
  EXPECT_EQ(cluster.State(other), JobState::kPlaced);  // and nobody waits behind it
  cluster.Join("c", 2);
  EXPECT_EQ(WorkersOf(cluster.Job(job).ranks), (Names{"c", "c"}));
}

TEST(Placement, AJobOfOneMpirunStartsSmallerWhereItMay) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  cluster.Join("b", 3);
  contract::JobSpec spec = Spec("job", 4, 1, 2);
  spec.backend = contract::Backend::kMpi;
  const std::string job = cluster.Run(spec);
  EXPECT_EQ(WorkersOf(cluster.Job(job).ranks), Names(3, "b"));
}

TEST(Placement, AfterALossTheRestStaysWhereItWas) {
  ScriptedCluster cluster;
  for (const char* name : {"a", "b", "c", "d"}) cluster.Join(name, 2);
  const std::string job = cluster.Run(Spec("job", 3, 2, 1));
  EXPECT_EQ(WorkersOf(cluster.Job(job).ranks), (Names{"a", "a", "b", "b", "c", "c"}));
  ASSERT_TRUE(cluster.Keep(cluster.core().Leave(cluster.now(), {cluster.SpeakerOf("b")})).ok());
  cluster.BeatAll(4);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(WorkersOf(cluster.Job(job).ranks), (Names{"a", "a", "c", "c", "d", "d"}));
}

// All leases ran out while the coordinator was away; its workers register anew, one after the other.
TEST(Placement, AfterAnAbsenceAJobWaitsForWorkersThatAreJustComing) {
  ScriptedCluster cluster;
  for (const char* name : {"a", "b", "c"}) cluster.Join(name, 1);
  const std::string job = cluster.Run(Spec("job", 3, 1, 1));
  cluster.RestartCoordinator();
  cluster.Pass(cluster.core().options().lease_us);
  ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  ASSERT_EQ(cluster.State(job), JobState::kRecovering);
  ASSERT_TRUE(cluster.Register("b", 1).ok());
  ASSERT_TRUE(cluster.Register("c", 1).ok());
  cluster.Join("a", 1);
  EXPECT_EQ(cluster.Job(job).generation, 1) << "b and c are there and have not spoken";
  ASSERT_TRUE(cluster.Beat("c").ok());
  EXPECT_EQ(cluster.Job(job).generation, 1);
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).data, 3);
}

// However long the job has waited for any of them.
TEST(Placement, AJobThatWasThereFirstWaitsForWorkersThatAreJustComing) {
  ScriptedCluster cluster;
  const std::string job = cluster.Submit(Spec("job", 3, 1, 1));
  for (int beat = 0; beat < 10; ++beat) {
    cluster.Pass(cluster.core().options().lease_us / 2);
    ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  }
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(cluster.Register(name, 1).ok());
  ASSERT_TRUE(cluster.Beat("b").ok());
  EXPECT_EQ(cluster.State(job), JobState::kQueued) << "a and c are there and have not spoken";
  ASSERT_TRUE(cluster.Beat("a").ok());
  EXPECT_EQ(cluster.State(job), JobState::kQueued);
  ASSERT_TRUE(cluster.Beat("c").ok());
  EXPECT_EQ(cluster.State(job), JobState::kPlaced);
  EXPECT_EQ(cluster.Job(job).data, 3);
}

TEST(Placement, OneThatRegistersAndSaysNothingIsWaitedForNoLongerThanALease) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const int64_t lease_us = cluster.core().options().lease_us;
  const std::string job = cluster.Submit(Spec("job", 2, 1, 2));
  EXPECT_EQ(cluster.State(job), JobState::kSubmitted);
  const std::string small = cluster.Submit(Spec("small", 2, 1, 1));
  EXPECT_EQ(cluster.State(small), JobState::kPlaced);  // nobody is coming: at once
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {small})).ok());
  cluster.BeatAll(2);
  ASSERT_TRUE(cluster.Register("mute", 1).ok());
  const std::string again = cluster.Submit(Spec("again", 2, 1, 1));
  for (int64_t passed = 0; passed < lease_us; passed += 500 * kMs) {
    EXPECT_EQ(cluster.State(again), JobState::kQueued) << passed;
    cluster.Pass(500 * kMs);
    ASSERT_TRUE(cluster.Register("mute", 1).ok());  // keeps its lease for ever
    ASSERT_TRUE(cluster.Beat("a").ok());
    ASSERT_TRUE(cluster.Keep(cluster.core().Tick(cluster.now())).ok());
  }
  EXPECT_EQ(cluster.State(again), JobState::kPlaced);
  EXPECT_EQ(cluster.Job(again).data, 1);
}

TEST(Placement, WhatOneJobHasTakenIsNotWaitedForByTheNext) {
  ScriptedCluster cluster;
  const std::string first = cluster.Submit(Spec("first", 2, 1, 1)), second = cluster.Submit(Spec("second", 2, 1, 1));
  cluster.Join("a", 3);
  EXPECT_EQ(cluster.Job(first).data, 2);
  EXPECT_EQ(cluster.State(second), JobState::kPlaced);
  EXPECT_EQ(cluster.Job(second).data, 1);
}

TEST(Placement, SlotsOfWorkersThatAreBeingDrainedAreNotTaken) {
  ScriptedCluster cluster;
  cluster.Join("a", 2);
  cluster.Join("b", 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainWorker(cluster.now(), {"a"})).ok());
  const std::string job = cluster.Run(Spec("job", 2, 1, 1));
  EXPECT_EQ(WorkersOf(cluster.Job(job).ranks), (Names{"b"}));
}

TEST(Placement, AJobGrowsToItsFullGridWhenNobodyElseWaits) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job", 2, 1, 1));
  ASSERT_TRUE(cluster.Commit(job, 10).ok());
  cluster.Join("b", 1);
  cluster.Live(5'000 * kMs);
  EXPECT_EQ(cluster.Job(job).data, 1);  // not at once
  cluster.Live(10'000 * kMs);
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
  EXPECT_EQ(cluster.Job(job).data, 2);
  EXPECT_EQ(cluster.Job(job).generation, 2);
  EXPECT_EQ(cluster.Job(job).restarts, 0);
  EXPECT_EQ(cluster.Job(job).resume->step, 10);
}

TEST(Placement, NobodyGrowsWhileAnotherJobWaitsForRoom) {
  ScriptedCluster cluster;
  cluster.Join("a", 1);
  const std::string job = cluster.Run(Spec("job", 2, 1, 1));
  const std::string waiting = cluster.Submit(Spec("waiting", 3, 1, 3));
  cluster.Join("b", 2);
  cluster.Live(20'000 * kMs);
  EXPECT_EQ(cluster.State(waiting), JobState::kQueued);
  EXPECT_EQ(cluster.Job(job).generation, 1);
  ASSERT_TRUE(cluster.Keep(cluster.core().Cancel(cluster.now(), {waiting})).ok());
  cluster.Live(3'000 * kMs);
  EXPECT_EQ(cluster.Job(job).data, 2);
}

}  // namespace
}  // namespace filigree::coordinator
