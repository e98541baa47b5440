#include "worker/comm/gloo.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <future>
#include <span>
#include <thread>
#include <vector>

#include "tests/worker/comm/numbers.h"
#include "worker/comm/communicator.h"
#include "worker/comm/no_sigpipe.h"
#include "worker/comm/transport.h"

// How ranks of Gloo meet: who comes late, who does not come, who comes twice. What a group does once it is there is in
// the tests of every backend; what becomes of it when a process is lost, in gloo_loss_test.cc.

namespace filigree::comm {
namespace {

using std::chrono::milliseconds;
using Joined = absl::StatusOr<std::unique_ptr<Transport>>;

GlooOptions Rank(int rank, int size, const std::string& generation = "first") {
  GlooOptions options;
  options.rank = rank;
  options.size = size;
  options.host = "127.0.0.1";
  options.generation = generation;
  options.connect_deadline = milliseconds(20'000);
  return options;
}

std::future<Joined> Join(const GlooOptions& options, const std::shared_ptr<KeyValueStore>& store) {
  return std::async(std::launch::async, [=] { return GlooGroup(options, store); });
}

bool Says(const absl::Status& status, const std::string& words) {
  return std::string(status.message()).find(words) != std::string::npos;
}

absl::Status Meet(Joined joined) {
  if (!joined.ok()) return joined.status();
  Communicator comm(*std::move(joined), {});
  return comm.Barrier();
}

TEST(Gloo, RanksMeetInAFolder) {
  const std::string folder = testing::TempDir() + "gloo-meet";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::vector<std::future<absl::Status>> ranks;
  ranks.reserve(3);
  for (int r = 0; r < 3; ++r) {
    ranks.push_back(std::async(std::launch::async, [=] {
      const auto store = FolderStore(folder);
      return store.ok() ? Meet(GlooGroup(Rank(r, 3), *store)) : store.status();
    }));
  }
  for (auto& rank : ranks) EXPECT_EQ(rank.get(), absl::OkStatus());
}

TEST(Gloo, ARankThatStartsLateIsWaitedFor) {
  const auto store = MemoryStore();
  std::future<Joined> first = Join(Rank(0, 3), store), third = Join(Rank(2, 3), store);
  std::this_thread::sleep_for(milliseconds(700));
  std::future<Joined> late = Join(Rank(1, 3), store);
  std::vector<std::future<absl::Status>> met;
  for (auto* joined : {&first, &late, &third}) met.push_back(std::async(std::launch::async, Meet, joined->get()));
  for (auto& rank : met) EXPECT_EQ(rank.get(), absl::OkStatus());
}

TEST(Gloo, AllRanksThatDoNotComeAreNamed) {
  GlooOptions options = Rank(1, 4);
  options.connect_deadline = milliseconds(200);
  const auto store = MemoryStore();
  std::vector<int> missing_of_1, missing_of_3;
  options.missing = &missing_of_1;
  std::future<Joined> other = Join(options, store);
  options.rank = 3;
  options.missing = &missing_of_3;
  for (const absl::Status& status : {GlooGroup(options, store).status(), other.get().status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
    EXPECT_TRUE(Says(status, "did not come within 0.2 s: 0, 2")) << status;
  }
  EXPECT_EQ(missing_of_1, (std::vector<int>{0, 2}));
  EXPECT_EQ(missing_of_3, (std::vector<int>{0, 2}));
}

// Of rank 0's round all that concerns rank 1 is over when that leaves; rank 2 is still to come.
TEST(Gloo, ARankThatHasReceivedAllMayLeaveWhileAnotherIsWaitedFor) {
  const auto store = MemoryStore();
  std::future<Joined> ranks[] = {Join(Rank(0, 3), store), Join(Rank(1, 3), store), Join(Rank(2, 3), store)};
  Joined joined[] = {ranks[0].get(), ranks[1].get(), ranks[2].get()};
  for (const Joined& one : joined) ASSERT_TRUE(one.ok()) << one.status();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const std::vector<float> large = KnownVector<float>(0, 1'000'000);
  std::vector<float> arrived(large.size());
  const float late = 7;
  float heard = 0;
  auto first = std::async(std::launch::async, [&] {
    const OutgoingMessage out{1, large.data(), large.size() * sizeof(float)};
    const IncomingMessage in{2, &heard, sizeof(heard)};
    return (*joined[0])->Exchange(1, std::span(&out, 1), std::span(&in, 1), deadline);
  });
  const IncomingMessage in{0, arrived.data(), arrived.size() * sizeof(float)};
  EXPECT_EQ((*joined[1])->Exchange(1, {}, std::span(&in, 1), deadline), absl::OkStatus());
  (*joined[1]).reset();  // has said farewell, and waits for those of the others as long as a rank does that leaves
  const OutgoingMessage out{0, &late, sizeof(late)};
  EXPECT_EQ((*joined[2])->Exchange(1, std::span(&out, 1), {}, deadline), absl::OkStatus());
  EXPECT_EQ(first.get(), absl::OkStatus());
  EXPECT_EQ(arrived, large);
  EXPECT_EQ(heard, late);
  for (const int rank : {0, 2}) (*joined[rank]).reset();
}

// It has left its address and is gone before the others connect.
TEST(Gloo, ARankThatIsGoneBeforeItConnectsIsNamed) {
  const auto store = MemoryStore();
  GlooOptions short_lived = Rank(2, 3);
  short_lived.connect_deadline = milliseconds(1);
  EXPECT_FALSE(GlooGroup(short_lived, store).ok());
  GlooOptions options = Rank(0, 3);
  options.connect_deadline = milliseconds(1000);
  std::vector<int> missing_of_0, missing_of_1;
  options.missing = &missing_of_0;
  std::future<Joined> other = Join(options, store);
  options.rank = 1;
  options.missing = &missing_of_1;
  for (const absl::Status& status : {GlooGroup(options, store).status(), other.get().status()}) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) << status;
    EXPECT_TRUE(Says(status, "rank 2 on ")) << status;
    EXPECT_FALSE(Says(status, "rank 1 on ") || Says(status, "rank 0 on ")) << status;
  }
  EXPECT_EQ(missing_of_0, std::vector<int>{2});
  EXPECT_EQ(missing_of_1, std::vector<int>{2});
}

TEST(Gloo, ANumberOrAGenerationThatIsTakenIsRefused) {
  const auto store = MemoryStore();
  std::future<Joined> first = Join(Rank(0, 2), store);
  Joined second = GlooGroup(Rank(1, 2), store);
  ASSERT_EQ(second.status(), absl::OkStatus());
  ASSERT_EQ(first.get().status(), absl::OkStatus());
  const absl::Status again = GlooGroup(Rank(1, 2), store).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists) << again;
  EXPECT_TRUE(Says(again, "rank 1 of generation first")) << again;
}

TEST(Gloo, OptionsThatAreWrongAreRefused) {
  const auto store = MemoryStore();
  for (const GlooOptions& options : {Rank(0, 0), Rank(-1, 2), Rank(2, 2), Rank(0, 2, "")}) {
    EXPECT_EQ(GlooGroup(options, store).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(GlooGroup(Rank(0, 1), nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  GlooOptions nowhere = Rank(0, 2);
  nowhere.host = "no.such.host.invalid";
  absl::Status status = GlooGroup(nowhere, store).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_TRUE(Says(status, "no.such.host.invalid") && Says(status, "FILIGREE_HOST")) << status;
  nowhere.interface = "nosuchif0";
  status = GlooGroup(nowhere, store).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_TRUE(Says(status, "nosuchif0")) << status;
}

// What is in a store may be anything.
TEST(Gloo, AddressesThatAreNoneAreRefused) {
  for (const char* card : {"", "999", "003\x01", "004\x01h\x01w", "abc", "0000000000000"}) {
    const auto store = MemoryStore();
    ASSERT_EQ(store->Set("gloo/first/1", card), absl::OkStatus());
    const absl::Status status = GlooGroup(Rank(0, 2), store).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_TRUE(Says(status, "rank 1")) << status;
  }
}

TEST(Gloo, LargeArraysAndOddSizes) {
  const auto store = MemoryStore();
  std::vector<std::future<void>> ranks;
  ranks.reserve(3);
  for (int r = 0; r < 3; ++r) {
    ranks.push_back(std::async(std::launch::async, [=] {
      Joined joined = GlooGroup(Rank(r, 3), store);
      ASSERT_EQ(joined.status(), absl::OkStatus());
      Communicator comm(*std::move(joined), {});
      for (const int64_t count : {int64_t{16} << 20, (int64_t{16} << 20) + 1, int64_t{65'537}, int64_t{2113}}) {
        std::vector<float> values = KnownVector<float>(comm.rank(), count);
        ASSERT_EQ(comm.Broadcast(ArrayOf(std::span(values)), 1), absl::OkStatus());
        ASSERT_EQ(values, KnownVector<float>(1, count)) << count;
        ASSERT_EQ(comm.AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum), absl::OkStatus());
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], 3 * Known<float>(1, i)) << i << " of " << count;
      }
    }));
  }
  for (auto& rank : ranks) rank.get();
}

// Two transports of one group.
std::vector<std::unique_ptr<Transport>> Pair(const std::string& generation) {
  const auto store = MemoryStore();
  std::future<Joined> first = Join(Rank(0, 2, generation), store);
  Joined second = GlooGroup(Rank(1, 2, generation), store);
  std::vector<std::unique_ptr<Transport>> pair;
  pair.push_back(*first.get());
  pair.push_back(*std::move(second));
  return pair;
}

auto Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }

// One end sends so many bytes in its round, the other expects that many in its own.
absl::Status SendOne(size_t sent, uint64_t send_round, std::vector<std::byte>* to, uint64_t receive_round) {
  auto pair = Pair("one");
  const std::vector<std::byte> from(sent, std::byte{7});
  auto sending = std::async(std::launch::async, [&] {
    const OutgoingMessage out = {1, from.data(), from.size()};
    (void)pair[0]->Exchange(send_round, {&out, 1}, {}, std::chrono::steady_clock::now() + milliseconds(500));
    auto gone = std::move(pair[0]);
  });
  const IncomingMessage in = {0, to->data(), to->size()};
  absl::Status status = pair[1]->Exchange(receive_round, {}, {&in, 1}, Soon());
  pair[1].reset();
  sending.get();
  return status;
}

TEST(GlooMessages, AShortOneFillsTheBeginningOfItsBuffer) {
  std::vector<std::byte> to(kSmallMessage, std::byte{1});
  ASSERT_EQ(SendOne(5, 3, &to, 3), absl::OkStatus());
  EXPECT_EQ(to[4], std::byte{7});
  EXPECT_EQ(to[5], std::byte{1});
}

TEST(GlooMessages, OneThatIsLongerThanItsBufferIsRefused) {
  for (const size_t room : {size_t{10}, size_t{100'000}}) {
    std::vector<std::byte> to(room);
    const absl::Status status = SendOne(room + 1, 3, &to, 3);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_TRUE(Says(status, "rank 0 sends")) << status;
  }
}

TEST(GlooMessages, OneOfAnotherRoundIsRefused) {
  std::vector<std::byte> to(10, std::byte{1});
  const absl::Status status = SendOne(10, 3, &to, 4);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(Says(status, "in round 3") && Says(status, "in round 4")) << status;
  EXPECT_EQ(to[0], std::byte{1});
}

TEST(GlooMessages, WhatALeavingRankHasSentArrives) {
  for (int i = 0; i < 20; ++i) {
    auto pair = Pair(std::to_string(i));
    const std::vector<float> from = KnownVector<float>(i, 400'003);
    std::vector<float> to(from.size());
    auto leaving = std::async(std::launch::async, [&] {
      const OutgoingMessage out = {1, from.data(), from.size() * sizeof(float)};
      EXPECT_EQ(pair[0]->Exchange(1, {&out, 1}, {}, Soon()), absl::OkStatus());
      pair[0].reset();
    });
    const IncomingMessage in = {0, to.data(), to.size() * sizeof(float)};
    EXPECT_EQ(pair[1]->Exchange(1, {}, {&in, 1}, Soon()), absl::OkStatus()) << i;
    EXPECT_EQ(to, from);
    pair[1].reset();
    leaving.get();
  }
}

int WriteToNobody() {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  close(ends[0]);
  const ssize_t wrote = write(ends[1], "x", 1);
  const int error = wrote < 0 ? errno : 0;
  close(ends[1]);
  return error;
}

// Gloo writes so that the signal is raised where the other end is gone.
TEST(NoSigpipes, AWriteToNobodyRaisesNoSignalAndLeavesNoneBehind) {
  {
    const NoSigpipe quiet;
    EXPECT_EQ(WriteToNobody(), EPIPE);
    std::thread([] { EXPECT_EQ(WriteToNobody(), EPIPE); }).join();
  }
  sigset_t set;
  pthread_sigmask(SIG_SETMASK, nullptr, &set);
  EXPECT_EQ(sigismember(&set, SIGPIPE), 0);
  sigpending(&set);
  EXPECT_EQ(sigismember(&set, SIGPIPE), 0);
}

}  // namespace
}  // namespace filigree::comm
