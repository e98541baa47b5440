#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "worker/agent/complaint.h"
#include "worker/agent/key_memory.h"
#include "worker/agent/launch.h"
#include "worker/agent/launcher_word.h"
#include "worker/agent/state_folder.h"
#include "worker/agent/tell_check.h"

// The smaller pieces: its folder, how ranks are started, what they may tell, what is remembered of their keys.

namespace filigree::agent {
namespace {

std::string Folder() {
  std::string folder = testing::TempDir() + "agent_pieces_XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder;
}

bool Says(const absl::Status& status, const std::string& part) {
  return std::string(status.message()).find(part) != std::string::npos;
}

TEST(StateFolder, IsMadeForOneUserAndOneWorker) {
  const std::string path = Folder() + "/deep/state";
  const auto first = StateFolder::Open(path);
  ASSERT_TRUE(first.ok()) << first.status();
  struct stat facts = {};
  ASSERT_EQ(stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700U);
  EXPECT_TRUE(absl::IsFailedPrecondition(StateFolder::Open(path).status()));
}

TEST(StateFolder, OneThatOthersMayEnterIsRefused) {
  const std::string path = Folder();
  chmod(path.c_str(), 0750);
  const absl::Status status = StateFolder::Open(path).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_TRUE(Says(status, "chmod 700 " + path)) << status;
}

TEST(StateFolder, APathThatNoSocketCanHaveIsRefused) {
  for (const std::string& name :
       {std::string(100, 'x'), std::string("a?b"), std::string("a#b"), std::string("a%20b")}) {
    const std::string path = Folder() + "/" + name;
    EXPECT_TRUE(absl::IsInvalidArgument(StateFolder::Open(path).status())) << path;
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

TEST(StateFolder, OldLogsAreRemovedBeforeThereAreTooMany) {
  const std::string path = Folder();
  const auto folder = StateFolder::Open(path);
  ASSERT_TRUE(folder.ok());
  for (int i = 0; i < 1100; ++i) {
    const std::string log = folder->LogPath({"job-1", i + 1, 0});
    std::ofstream(log) << "x";
    if (i > 0) continue;
    EXPECT_EQ(log, path + "/logs/job-1/g1-rank0.log");
    std::filesystem::last_write_time(log, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  }
  const auto files = std::distance(std::filesystem::directory_iterator(path + "/logs/job-1"), {});
  EXPECT_LE(files, 1000);
  EXPECT_GT(files, 900);
  EXPECT_FALSE(std::filesystem::exists(path + "/logs/job-1/g1-rank0.log"));
}

TEST(StateFolder, ConfigurationsComeAndGo) {
  const auto folder = StateFolder::Open(Folder());
  ASSERT_TRUE(folder.ok());
  const auto path = folder->WriteConfig("job-1", "[run]\n");
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(std::filesystem::file_size(*path), 6u);
  folder->RemoveConfig("job-1");
  EXPECT_FALSE(std::filesystem::exists(*path));
}

// A rank that was started just before may be reading it.
TEST(StateFolder, AConfigurationIsNeverSeenHalfWritten) {
  const auto folder = StateFolder::Open(Folder());
  ASSERT_TRUE(folder.ok());
  const auto path = folder->WriteConfig("job-1", "[run]\nsteps = 7\n");
  ASSERT_TRUE(path.ok());
  std::ifstream reading;
  reading.rdbuf()->pubsetbuf(nullptr, 0);  // nothing is read ahead
  reading.open(*path);
  ASSERT_EQ(reading.get(), '[');
  ASSERT_TRUE(folder->WriteConfig("job-1", "").ok());
  const std::string rest{std::istreambuf_iterator<char>(reading), {}};
  EXPECT_EQ(rest, "run]\nsteps = 7\n");
  EXPECT_EQ(std::filesystem::file_size(*path), 0u);
}

TEST(StateFolder, ConfigurationsOfAWorkerThatWasKilledGo) {
  const std::string path = Folder();
  std::filesystem::create_directory(path + "/configs");
  chmod(path.c_str(), 0700);
  std::ofstream(path + "/configs/job-1.toml") << "[run]\n";
  const auto folder = StateFolder::Open(path);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE(std::filesystem::is_empty(path + "/configs"));
}

Start StartOf(contract::Backend backend, std::vector<int32_t> ranks) {
  contract::JobSpec spec;
  spec.backend = backend;
  spec.arguments = {"--run.steps=7"};
  return {"0123abcd", "night-1", 3, std::move(ranks), 2, 4, std::make_shared<const contract::JobSpec>(spec)};
}

const LaunchPlace kPlace = {"/opt/filigree", "/srv", "/state/agent.sock", {"A=1"}};

bool Has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

TEST(Launch, ARankIsOneProcess) {
  const auto command = CommandOf(kPlace, StartOf(contract::Backend::kGloo, {5}), "/state/c.toml");
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->program, "/opt/filigree");
  EXPECT_EQ(command->folder, "/srv");
  EXPECT_EQ(command->arguments, (std::vector<std::string>{"/opt/filigree", "train", "/state/c.toml", "--run.steps=7",
                                                          "--telemetry.job=night-1", "--parallel.backend=gloo",
                                                          "--parallel.data=2", "--parallel.tensor=4"}));
  EXPECT_EQ(command->environment,
            (std::vector<std::string>{"A=1", "FILIGREE_AGENT=unix:/state/agent.sock", "FILIGREE_PROCESS=0123abcd"}));
}

TEST(Launch, MpiRanksAreStartedByOneMpirun) {
  const auto command = CommandOf(kPlace, StartOf(contract::Backend::kMpi, {0, 1, 2, 3, 4, 5, 6, 7}), "/state/c.toml");
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->arguments.front(), "mpirun");
  const auto count = std::find(command->arguments.begin(), command->arguments.end(), "-n");
  ASSERT_NE(count, command->arguments.end());
  EXPECT_EQ(*(count + 1), "8");
  EXPECT_TRUE(Has(command->arguments, "--parallel.backend=mpi"));
}

TEST(Launch, RanksDoNotInheritWhatBelongsToOthers) {
  std::vector<std::string> words = {"PATH=/bin",
                                    "OMPI_COMM_WORLD_RANK=3",
                                    "SLURM_PROCID=1",
                                    "FILIGREE_RANK=1",
                                    "FILIGREE_TOKEN_FILE=/t",
                                    "FILIGREE_TLS_KEY=/k",
                                    "FILIGREE_HOST=10.0",
                                    "TERM=xterm",
                                    "FILIGREE_COORDINATOR=c:1"};
  std::vector<char*> environment;
  environment.reserve(words.size() + 1);
  for (std::string& word : words) environment.push_back(word.data());
  environment.push_back(nullptr);
  EXPECT_EQ(EnvironmentOfRanks(environment.data()),
            (std::vector<std::string>{"PATH=/bin", "FILIGREE_HOST=10.0", "TERM=dumb"}));
}

constexpr char kNonZero[] =
    "Primary job  terminated normally, but 1 process returned\na non-zero exit code.\n---\nmpirun detected that one or "
    "more processes exited with non-zero status, thus causing\nthe job to be terminated. The first process to do so "
    "was:\n\n  Process name: [[57037,1],12]\n  Exit code:    3\n---";

TEST(LaunchersWord, NamesTheFirstRankThatFailed) {
  const auto is = [](const std::string& tail, int rank, int code, int signal) {
    const auto word = WordOfMpirun(tail);
    return word && word->rank == rank && word->code == code && word->signal == signal;
  };
  EXPECT_TRUE(is(kNonZero, 12, 3, 0));
  EXPECT_TRUE(is("Process name: [prterun-host-4711@1,2]\n   Exit code:    75\n", 2, 75, 0));
  EXPECT_TRUE(
      is("x\nmpirun noticed that process rank 1 with PID 0 on node vm exited on signal 11 (Segmentation fault).", 1, 0,
         11));
  EXPECT_TRUE(is("MPI_ABORT was invoked on rank 4 in communicator MPI_COMM_WORLD\nwith errorcode 4.\n", 4, 4, 0));
  // Whoever was ended by that is named later.
  EXPECT_TRUE(
      is("MPI_ABORT was invoked on rank 4 in communicator MPI_COMM_WORLD\nwith errorcode 4.\nnoticed that "
         "process rank 0 with PID 0 on node vm exited on signal 15 (Terminated).",
         4, 4, 0));
}

TEST(LaunchersWord, IsNothingWhereItSaysNothing) {
  const std::string whole = kNonZero;
  for (size_t bytes = 0; bytes < whole.find(" 3\n"); ++bytes) EXPECT_FALSE(WordOfMpirun(whole.substr(0, bytes)));
  for (const char* tail : {"", "Process name: [[1,1],x]\nExit code: 3", "Process name: 1]\nExit code: 0",
                           "Process name: [[1,1],99999999999]\nExit code: 3", "Process name: [[1,1],-2]\nExit code: 3",
                           "noticed that process rank 1 with PID 0", "MPI_ABORT was invoked on rank ",
                           "noticed that process rank 1 exited on signal 0"})
    EXPECT_FALSE(WordOfMpirun(tail)) << tail;
}

v1::TellRequest Good() {
  v1::TellRequest tell;
  tell.set_state(v1::RANK_STATE_RUNNING);
  tell.mutable_progress()->set_step(7);
  return tell;
}

TEST(TellCheck, WhatTheCoordinatorWouldRefuseIsRefusedHere) {
  EXPECT_TRUE(CheckTell(Good()).ok());
  const auto refused = [](const std::string& part, const auto& spoil) {
    v1::TellRequest tell = Good();
    spoil(tell);
    const absl::Status status = CheckTell(tell);
    EXPECT_TRUE(absl::IsInvalidArgument(status) && Says(status, part)) << part << ": " << status;
  };
  refused("state", [](v1::TellRequest& t) { t.set_state(v1::RANK_STATE_FINISHED); });
  refused("state", [](v1::TellRequest& t) { t.clear_state(); });
  refused("step", [](v1::TellRequest& t) { t.mutable_progress()->set_step(-1); });
  refused("step", [](v1::TellRequest& t) { t.mutable_progress()->set_step(int64_t{1} << 54); });
  refused("seconds", [](v1::TellRequest& t) {
    t.mutable_progress()->mutable_seconds()->set_topk(std::numeric_limits<double>::quiet_NaN());
  });
  refused("seconds", [](v1::TellRequest& t) { t.mutable_progress()->mutable_seconds()->set_data(-1e-9); });
  refused("mask_epoch", [](v1::TellRequest& t) { t.set_mask_epoch(-1); });
  refused("mask_digests", [](v1::TellRequest& t) {
    for (int i = 0; i < 65; ++i) t.add_mask_digests()->set_name("n");
  });
  refused("ascend", [](v1::TellRequest& t) {
    for (const char* name : {"weights", "masks"}) {
      t.add_mask_digests()->set_name(name);
      t.mutable_mask_digests()->rbegin()->set_digest("0123456789abcdef");
    }
  });
  refused("metrics_address", [](v1::TellRequest& t) { t.set_metrics_address("http://x"); });
  refused("port 0", [](v1::TellRequest& t) { t.set_metrics_address("x:0"); });
  refused("config_sha256", [](v1::TellRequest& t) { t.mutable_figures()->set_config_sha256("XYZ"); });
  refused("matri", [](v1::TellRequest& t) { t.mutable_figures()->add_matrices()->set_matrix("a b"); });
  refused("4097", [](v1::TellRequest& t) {
    for (int i = 0; i < 4097; ++i) t.mutable_figures()->add_matrices()->set_matrix("m");
  });
}

TEST(KeyMemory, KeepsWhatLivesAndNotTooMuch) {
  KeyMemory keys;
  v1::SetKeyRequest set;
  set.set_job("job-1");
  set.set_value(std::string(1 << 20, 'v'));
  for (int i = 0; i < 100; ++i) {
    set.set_generation(1 + i % 2);
    set.set_key(std::to_string(i));
    keys.Remember(set);
    keys.Remember(set);  // once
  }
  EXPECT_EQ(keys.All().size(), 63u);
  keys.Forget([](const std::string&, int64_t generation) { return generation == 2; });
  EXPECT_EQ(keys.All().size(), 31u);
  for (const v1::SetKeyRequest& request : keys.All()) EXPECT_EQ(request.generation(), 2);
  EXPECT_TRUE(keys.Remember(set));  // there is room again
  EXPECT_EQ(keys.All().size(), 32u);
  EXPECT_FALSE(keys.Remember(set));
  v1::SetKeyRequest other = set;
  other.set_value("another's");
  keys.Drop(other);
  EXPECT_EQ(keys.All().size(), 32u);
  keys.Accept(other);  // what never arrived gives way to what did
  EXPECT_EQ(keys.All().size(), 32u);
  keys.Drop(set);  // which is not there any more
  EXPECT_EQ(keys.All().size(), 32u);
  keys.Accept(set);
  keys.Drop(set);
  EXPECT_EQ(keys.All().size(), 31u);
}

TEST(Complaint, IsSaidAtOnceThenOnceAMinuteAndWhenItIsOver) {
  Complaint complaint;
  EXPECT_FALSE(complaint.Over());
  EXPECT_TRUE(complaint.Again(5));
  EXPECT_FALSE(complaint.Again(6));
  EXPECT_FALSE(complaint.Again(5 + 59'999'999));
  EXPECT_TRUE(complaint.Again(5 + 60'000'000));
  EXPECT_FALSE(complaint.Again(5 + 60'000'001));
  EXPECT_TRUE(complaint.Over());
  EXPECT_FALSE(complaint.Over());
  EXPECT_TRUE(complaint.Again(5 + 60'000'002));
}

}  // namespace
}  // namespace filigree::agent
