#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/worker/comm/numbers.h"
#include "worker/comm/communicator.h"
#include "worker/comm/gloo.h"

// Processes of a Gloo group are killed and stopped while they work; those that are left name them, form the next
// generation and go on, in the same processes. This program starts itself as every rank of the group.

namespace filigree::comm {
namespace {

using std::chrono::milliseconds;

constexpr int kRanks = 4;
constexpr unsigned kSeed = 20260117;  // of the moments

// Generation g loses kLost[g].
struct Loss {
  int rank;
  int signal;
};
constexpr Loss kLost[] = {{2, SIGKILL}, {0, SIGSTOP}};

std::unique_ptr<Communicator> Join(const std::vector<int>& members, int rank, int generation) {
  const char* const store_folder = std::getenv("FILIGREE_STORE");
  if (store_folder == nullptr) return nullptr;
  auto store = FolderStore(store_folder);
  EXPECT_EQ(store.status(), absl::OkStatus());
  GlooOptions options;
  options.rank = static_cast<int>(std::find(members.begin(), members.end(), rank) - members.begin());
  options.size = static_cast<int>(members.size());
  options.host = "127.0.0.1";
  options.generation = std::to_string(generation);
  auto group = GlooGroup(options, *store);
  EXPECT_EQ(group.status(), absl::OkStatus());
  if (!group.ok()) return nullptr;
  return std::make_unique<Communicator>(*std::move(group), Communicator::Options{milliseconds(2000)});
}

// Sums of known numbers until something fails.
absl::Status SumUntilLost(Communicator& comm, int64_t most) {
  for (int64_t i = 0; i < most; ++i) {
    std::vector<float> values = KnownVector<float>(comm.rank(), 700'001);
    if (absl::Status status = comm.AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum); !status.ok()) return status;
    float expected = 0;
    for (int r = 0; r < comm.size(); ++r) expected += Known<float>(r, 700'000);
    EXPECT_EQ(values.back(), expected);
  }
  return absl::OkStatus();
}

// One rank: what the processes below run.
TEST(ARank, OutlivesTheLossOfOthers) {
  const char* const number = std::getenv("FILIGREE_RANK");
  if (number == nullptr) GTEST_SKIP() << "is run by the tests below";
  const int rank = std::atoi(number);
  std::vector<int> members(kRanks);
  for (int r = 0; r < kRanks; ++r) members[r] = r;
  std::mt19937 random(kSeed);
  for (int generation = 0; generation <= static_cast<int>(std::size(kLost)); ++generation) {
    std::unique_ptr<Communicator> comm = Join(members, rank, generation);
    ASSERT_NE(comm, nullptr);
    ASSERT_EQ(SumUntilLost(*comm, 2), absl::OkStatus());
    if (generation == static_cast<int>(std::size(kLost))) break;
    const Loss loss = kLost[generation];
    const auto moment = milliseconds(std::uniform_int_distribution<int>(5, 60)(random));
    if (rank == loss.rank) {
      std::thread([=] {
        std::this_thread::sleep_for(moment);
        kill(getpid(), loss.signal);
      }).detach();
    }
    const int lost = static_cast<int>(std::find(members.begin(), members.end(), loss.rank) - members.begin());
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = SumUntilLost(*comm, 1'000'000);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("rank %d after %.2f s: %s\n", rank, seconds, status.ToString().c_str());
    EXPECT_EQ(status.code(),
              loss.signal == SIGKILL ? absl::StatusCode::kUnavailable : absl::StatusCode::kDeadlineExceeded);
    EXPECT_NE(std::string(status.message()).find("rank " + std::to_string(lost) + " on "), std::string::npos) << status;
    EXPECT_EQ(comm->Barrier(), status);
    comm.reset();
    std::erase(members, loss.rank);
  }
  EXPECT_EQ(members, (std::vector<int>{1, 3}));
}

pid_t Start(int rank, const std::string& store) {
  setenv("FILIGREE_RANK", std::to_string(rank).c_str(), 1);
  setenv("FILIGREE_STORE", store.c_str(), 1);
  std::string program = std::filesystem::read_symlink("/proc/self/exe"), filter = "--gtest_filter=ARank.*";
  char* arguments[] = {program.data(), filter.data(), nullptr};
  pid_t child = 0;
  EXPECT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  unsetenv("FILIGREE_RANK");
  unsetenv("FILIGREE_STORE");
  return child;
}

TEST(GlooLoss, ThoseWhoAreLeftGoOnAsTheNextGeneration) {
  if (std::getenv("FILIGREE_RANK") != nullptr) GTEST_SKIP();
  std::printf("seed %u\n", kSeed);
  const std::string store = testing::TempDir() + "gloo-loss-" + std::to_string(getpid());
  std::filesystem::create_directories(store);
  std::vector<pid_t> children;
  children.reserve(kRanks);
  for (int r = 0; r < kRanks; ++r) children.push_back(Start(r, store));
  int status = 0;
  for (int r : {1, 3}) {
    ASSERT_EQ(waitpid(children[r], &status, 0), children[r]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "rank " << r << ": " << status;
  }
  ASSERT_EQ(waitpid(children[2], &status, 0), children[2]);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  ASSERT_EQ(waitpid(children[0], &status, WUNTRACED), children[0]);
  EXPECT_TRUE(WIFSTOPPED(status)) << status;
  // It wakes up among strangers and learns that its group is gone.
  kill(children[0], SIGCONT);
  ASSERT_EQ(waitpid(children[0], &status, 0), children[0]);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 0) << status;
  std::filesystem::remove_all(store);
}

}  // namespace
}  // namespace filigree::comm
