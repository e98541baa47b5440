// `filigree train` in real processes under an agent that does what the test says.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_reports.h"
#include "tests/worker/attach/fake_agent.h"
#include "tests/worker/attach/program.h"

namespace filigree::attach {
namespace {

namespace fs = std::filesystem;
constexpr int kLost = 4, kStopped = 75;
constexpr uint32_t kSeed = 20261129;  // of the corpus

bool Runs(const v1::TellRequest& tell) { return tell.state() == v1::RANK_STATE_RUNNING; }

std::function<bool(const v1::TellRequest&)> IsAt(int64_t generation, int64_t step) {
  return [=](const v1::TellRequest& tell) {
    return tell.generation() == generation && Runs(tell) && tell.progress().step() >= step;
  };
}

class TrainUnderAgent : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = testing::TempDir() + "/attachXXXXXX";
    shared_ = ::mkdtemp(name.data());
    fs::create_directory(shared_ + "/text");
    std::mt19937 random(kSeed);
    for (int file = 0; file < 12; ++file) {
      std::ofstream out(fmt::format("{}/text/{}.py", shared_, file));
      for (int line = 0; line < 150; ++line) {
        out << fmt::format("    value_{} = count + {}\n", random() % 9, random() % 100);
      }
    }
    Program prepare({"prepare", "--input", shared_ + "/text", "--vocab", "300", "--out", shared_ + "/data",
                     "--val-fraction", "0.2"},
                    shared_ + "/prepare.txt");
    ASSERT_EQ(prepare.Wait(), 0) << prepare.Said();
  }
  static void TearDownTestSuite() { fs::remove_all(shared_); }

  std::string Config(const std::string& run, const std::map<std::string, std::string>& changes) {
    std::map<std::string, std::string> keys = {{"run.seed", "3"},
                                               {"run.threads", "1"},
                                               {"run.steps", "12"},
                                               {"model.d_model", "32"},
                                               {"model.n_layer", "1"},
                                               {"model.d_head", "16"},
                                               {"model.n_ctx", "40"},
                                               {"sparsity.density", "\"1/4\""},
                                               {"sparsity.embedding_density", "\"1/2\""},
                                               {"sparsity.min_alive", "2"},
                                               {"train.batch", "6"},
                                               {"train.shards", "3"},
                                               {"eval.every", "6"},
                                               {"eval.sequences", "4"},
                                               {"sample.every", "0"},
                                               {"checkpoint.every", "4"},
                                               {"parallel.stuck_after", "2"},
                                               {"run.dir", fmt::format("\"{}\"", run)},
                                               {"data.dir", fmt::format("\"{}/data\"", shared_)}};
    for (const auto& [key, value] : changes) keys[key] = value;
    const std::string path = agent_.folder() + "/" + fs::path(run).filename().string() + ".toml";
    std::ofstream out(path);
    for (const auto& [key, value] : keys) out << key << " = " << value << "\n";
    return path;
  }
  using Changes = std::map<std::string, std::string>;

  // A rank as an agent starts it; its settings ask for a grid that it must not take from there.
  Program& Start(const std::string& process, std::vector<std::string> variables = {}) {
    variables.push_back("FILIGREE_AGENT=unix:" + agent_.path());
    variables.push_back("FILIGREE_PROCESS=" + process);
    variables.push_back("FILIGREE_HOST=127.0.0.1");
    programs_[process] =
        std::make_unique<Program>(std::vector<std::string>{"train", Config(run_, changes_),
                                                           fmt::format("--parallel.data={}", programs_.size() + 1)},
                                  agent_.folder() + "/" + process + ".txt", variables);
    return *programs_[process];
  }
  Program& program(const std::string& process) { return *programs_[process]; }

  // step and state_sha256 of a run.
  std::string State(const std::string& run) {
    Program inspect({"inspect", run, "--json"}, agent_.folder() + "/inspect.txt");
    EXPECT_EQ(inspect.Wait(), 0) << inspect.Said();
    const nlohmann::json json = nlohmann::json::parse(inspect.Said(), nullptr, false);
    if (json.is_discarded()) return "nothing";
    return fmt::format("{} {}", json["step"].get<int64_t>(), json["state_sha256"].get<std::string>());
  }
  // Of a run that nothing happened to.
  std::string Undisturbed() {
    const std::string run = agent_.folder() + "/alone";
    Program alone({"train", Config(run, changes_), "--quiet"}, agent_.folder() + "/alone.txt");
    EXPECT_EQ(alone.Wait(), 0) << alone.Said();
    return State(run);
  }
  std::vector<nlohmann::json> Log(const std::string& kind) {
    std::vector<nlohmann::json> records;
    std::ifstream log(run_ + "/steps.jsonl");
    for (std::string line; std::getline(log, line);) {
      nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
      if (!record.is_discarded() && record["kind"] == kind) records.push_back(std::move(record));
    }
    return records;
  }

  static std::string shared_;
  FakeAgent agent_;
  const std::string run_ = agent_.folder() + "/run";
  Changes changes_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};
std::string TrainUnderAgent::shared_;

TEST_F(TrainUnderAgent, TellsWhatTheLogSays) {
  Start("a");
  Start("b");
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  for (const char* process : {"a", "b"}) EXPECT_EQ(program(process).Wait(), 0) << program(process).Said();
  EXPECT_EQ(State(run_), Undisturbed());
  const v1::TellRequest first = agent_.tells("a").front(), last = agent_.tells("a").back();
  EXPECT_EQ(first.state(), v1::RANK_STATE_STARTING);
  EXPECT_EQ(last.state(), v1::RANK_STATE_RUNNING);
  EXPECT_EQ(last.generation(), 1);
  EXPECT_EQ(last.progress().step(), 12);
  double forward = 0;
  uint64_t sent = 0, dense = 0;
  for (const nlohmann::json& step : Log("step")) {
    forward += step["phase_seconds"]["forward"].get<double>();
    sent += step["wire_bytes"]["sent"].get<uint64_t>();
    dense += step["wire_bytes"]["dense_equivalent"].get<uint64_t>();
  }
  EXPECT_NEAR(last.progress().seconds().forward(), forward, 1e-3 * forward + 1e-5);
  EXPECT_EQ(last.progress().sent_bytes(), sent);
  EXPECT_EQ(last.progress().dense_equivalent_bytes(), dense);
  ASSERT_TRUE(last.has_figures());
  EXPECT_EQ(last.figures().target_steps(), 12);
  EXPECT_EQ(last.figures().tokens(), 12u * 6 * 40);
  EXPECT_EQ(last.figures().config_sha256().size(), 64u);
  EXPECT_NEAR(last.figures().train_loss(), Log("step").back()["loss"].get<double>(), 1e-5);
  EXPECT_NEAR(last.figures().val_loss(), Log("eval").back()["loss"].get<double>(), 1e-5);
  EXPECT_NEAR(last.figures().density(), Log("step").back()["density"].get<double>(), 1e-6);
  EXPECT_GT(last.figures().matrices_size(), 0);
  EXPECT_FALSE(agent_.tells("b").back().has_figures());
  EXPECT_EQ(agent_.tells("b").back().progress().step(), 12);
}

TEST_F(TrainUnderAgent, GoesOnAsTheNextGenerationsAfterALossAndGrowsAgain) {
  changes_ = {{"run.steps", "300"}, {"checkpoint.every", "20"}, {"eval.every", "0"}};
  for (const char* process : {"a", "b", "c"}) Start(process);
  agent_.Give("a", 1, 0, 3);
  agent_.Give("b", 1, 1, 3);
  agent_.Give("c", 1, 2, 3);
  agent_.AwaitTell("b", IsAt(1, 30));
  program("b").Signal(SIGKILL);
  for (const char* process : {"a", "c"})
    EXPECT_NE(agent_.AwaitTake(process, 1).lost().find("rank 1"), std::string::npos);
  // Ranks change places, and generations skip a number.
  agent_.Give("a", 3, 1, 2);
  agent_.Give("c", 3, 0, 2);
  agent_.AwaitTell("a", IsAt(3, 60));
  for (const char* process : {"a", "c"}) agent_.Direct(process, 3, v1::DIRECTIVE_CHECKPOINT, true);
  for (const char* process : {"a", "c"}) EXPECT_EQ(agent_.AwaitTake(process, 3).lost(), "");
  Start("d");
  agent_.Give("a", 4, 0, 3);
  agent_.Give("d", 4, 1, 3);
  agent_.Give("c", 4, 2, 3);
  for (const char* process : {"a", "c", "d"}) EXPECT_EQ(program(process).Wait(), 0) << program(process).Said();
  EXPECT_EQ(program("b").Wait(), -SIGKILL);
  EXPECT_EQ(State(run_), Undisturbed());
  const std::vector<nlohmann::json> steps = Log("step");
  ASSERT_EQ(steps.size(), 300u);
  for (size_t s = 0; s < steps.size(); ++s) EXPECT_EQ(steps[s]["step"], s);
  EXPECT_NE(program("c").Said().find("going on as generation 3: 2 ranks"), std::string::npos) << program("c").Said();
}

TEST_F(TrainUnderAgent, CommitsEveryCheckpointAndWaitsForTheAnswer) {
  agent_.on_commit = [](const v1::CommitPoint& /*point*/, int attempt) {
    return attempt % 3 == 2 ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "no coordinator");
  };
  Start("a");
  Start("b");
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  for (const char* process : {"a", "b"}) EXPECT_EQ(program(process).Wait(), 0) << program(process).Said();
  const std::vector<v1::CommitPoint> commits = agent_.commits();
  ASSERT_EQ(commits.size(), 3u);
  for (size_t c = 0; c < commits.size(); ++c) {
    EXPECT_EQ(commits[c].generation(), 1);
    EXPECT_EQ(commits[c].step(), static_cast<int64_t>(4 * (c + 1)));
    EXPECT_EQ(commits[c].digest().size(), 32u);
  }
}

TEST_F(TrainUnderAgent, LeavesAGenerationThatIsOverAndGoesOnFromTheLastCommit) {
  agent_.on_commit = [](const v1::CommitPoint& point, int /*attempt*/) {
    const bool late = point.generation() == 1 && point.step() == 8;
    return late ? grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "generation 1 is over") : grpc::Status::OK;
  };
  Start("a");
  Start("b");
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  for (const char* process : {"a", "b"}) {
    const std::string lost = agent_.AwaitTake(process, 1).lost();
    EXPECT_NE(lost.find("generation 1 is over"), std::string::npos) << lost;
  }
  agent_.Give("a", 2, 0, 2, 1, [](v1::Part& part) { part.set_rollback(true); });
  agent_.Give("b", 2, 1, 2, 1, [](v1::Part& part) { part.set_rollback(true); });
  for (const char* process : {"a", "b"}) EXPECT_EQ(program(process).Wait(), 0) << program(process).Said();
  EXPECT_EQ(agent_.commits().size(), 3u);  // 4 of the first, 8 and 12 of the second
  EXPECT_EQ(agent_.commits()[1].generation(), 2);
  EXPECT_EQ(State(run_), Undisturbed());
}

TEST_F(TrainUnderAgent, LosesNoStepWhereTheOthersHoldTheState) {
  changes_ = {{"run.steps", "300"},
              {"checkpoint.every", "100000"},
              {"eval.every", "0"},
              {"sparsity.regime", "\"active\""},
              {"sparsity.density_start", "\"1/4\""},
              {"sparsity.embedding_density_start", "\"1/2\""},
              {"sparsity.candidates", "1.5"},
              {"sparsity.refresh_every", "3"}};
  for (const char* process : {"a", "b"}) Start(process);
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  agent_.AwaitTell("a", IsAt(1, 30));
  program("b").Signal(SIGKILL);
  agent_.AwaitTake("a", 1);
  Start("c");
  agent_.Give("a", 2, 0, 2);
  agent_.Give("c", 2, 1, 2);
  for (const char* process : {"a", "c"}) EXPECT_EQ(program(process).Wait(), 0) << program(process).Said();
  EXPECT_EQ(State(run_), Undisturbed());
  ASSERT_FALSE(agent_.commits().empty());  // which is how the newcomer got it
  EXPECT_EQ(agent_.commits()[0].generation(), 2);
  EXPECT_GE(agent_.commits()[0].step(), 29);
}

TEST_F(TrainUnderAgent, LeavesAtOnceWithoutACheckpointWhenToldTo) {
  changes_ = {{"run.steps", "100000"}, {"checkpoint.every", "100000"}, {"eval.every", "0"}};
  for (const char* process : {"a", "b", "alone"}) Start(process);
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  agent_.AwaitTell("a", IsAt(1, 10));
  agent_.Direct("a", 1, v1::DIRECTIVE_LEAVE, true);
  agent_.Direct("b", 1, v1::DIRECTIVE_LEAVE, false);
  EXPECT_EQ(program("b").Wait(), kStopped) << program("b").Said();
  EXPECT_EQ(agent_.AwaitTake("a", 1).lost(), "");
  EXPECT_FALSE(fs::exists(run_ + "/checkpoints") && !fs::is_empty(run_ + "/checkpoints"));
  // The same of a rank that has nobody to hear it from.
  agent_.Give("a", 2, 0, 1);
  agent_.AwaitTell("a", IsAt(2, 3));
  agent_.Direct("a", 2, v1::DIRECTIVE_LEAVE, true);
  EXPECT_EQ(agent_.AwaitTake("a", 2).lost(), "");
  EXPECT_TRUE(agent_.commits().empty());
  agent_.TellOver("a");
  agent_.TellOver("alone");  // which never had a part
  EXPECT_EQ(program("a").Wait(), kStopped) << program("a").Said();
  EXPECT_EQ(program("alone").Wait(), kStopped) << program("alone").Said();
}

TEST_F(TrainUnderAgent, WritesACheckpointAndEndsWhenToldToOrBySIGTERM) {
  changes_ = {{"run.steps", "100000"}, {"checkpoint.every", "100000"}, {"eval.every", "0"}};
  for (const char* process : {"a", "b"}) Start(process);
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  agent_.AwaitTell("a", IsAt(1, 5));
  // One hears it later than the other and does not end for another reason.
  agent_.Direct("a", 1, v1::DIRECTIVE_CHECKPOINT, false);
  EXPECT_EQ(program("a").Wait(), kStopped) << program("a").Said();
  agent_.Direct("b", 1, v1::DIRECTIVE_CHECKPOINT, false);
  EXPECT_EQ(program("b").Wait(), kStopped) << program("b").Said();
  const std::string before = State(run_);
  Start("c");
  agent_.Give("c", 2, 0, 1);
  agent_.AwaitTell("c", [&](const v1::TellRequest& tell) {
    return Runs(tell) && tell.progress().step() > std::atoll(before.c_str());
  });
  program("c").Signal(SIGTERM);
  EXPECT_EQ(program("c").Wait(), kStopped) << program("c").Said();
  EXPECT_NE(State(run_), before);
}

TEST_F(TrainUnderAgent, EndsWithItsAgent) {
  changes_ = {{"run.steps", "100000"}, {"eval.every", "0"}};
  for (const char* process : {"a", "b", "idle"}) Start(process);
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  agent_.AwaitTell("a", IsAt(1, 5));
  agent_.AwaitTake("idle", 0);
  agent_.Stop();
  for (const char* process : {"a", "b", "idle"}) {
    EXPECT_EQ(program(process).Wait(std::chrono::seconds(5)), kLost) << program(process).Said();
    EXPECT_NE(program(process).Said().find("is gone"), std::string::npos) << program(process).Said();
  }
}

TEST_F(TrainUnderAgent, SaysWhyItFailsBeforeItEnds) {
  changes_ = {{"data.dir", "\"/no/such/corpus\""}};
  for (const char* process : {"a", "b"}) Start(process);
  agent_.Give("a", 1, 0, 2);
  agent_.Give("b", 1, 1, 2);
  for (const char* process : {"a", "b"}) {
    EXPECT_EQ(program(process).Wait(), 3) << program(process).Said();
    const v1::TellRequest last = agent_.tells(process).back();
    EXPECT_EQ(last.state(), v1::RANK_STATE_FAILED);
    EXPECT_NE(last.reason().find("/no/such/corpus"), std::string::npos) << last.reason();
  }
  changes_ = {{"run.steps", "\"many\""}};
  Start("c");
  agent_.Give("c", 2, 0, 1);
  EXPECT_EQ(program("c").Wait(), 2) << program("c").Said();
  EXPECT_NE(agent_.tells("c").back().reason().find("run.steps"), std::string::npos);
}

TEST_F(TrainUnderAgent, RefusesAPartThatMakesNoSense) {
  Start("a");
  agent_.Give("a", 1, 7, 2);
  EXPECT_EQ(program("a").Wait(), 3) << program("a").Said();
  EXPECT_NE(program("a").Said().find("rank 7 of 2 ranks"), std::string::npos) << program("a").Said();
}

// MPI takes a process that no mpirun has started for the only one.
TEST_F(TrainUnderAgent, RefusesAPartThatMpiDoesNotKnowOf) {
  Program& rank = Start("a", {"OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_RANK=1"});
  agent_.Give("a.1", 1, 1, 2);
  EXPECT_EQ(rank.Wait(), 3) << rank.Said();
  const v1::TellRequest last = agent_.tells("a.1").back();
  EXPECT_EQ(last.state(), v1::RANK_STATE_FAILED);
  EXPECT_NE(last.reason().find("as rank 0 of 1, its worker takes it for rank 1 of 2"), std::string::npos)
      << last.reason();
}

TEST_F(TrainUnderAgent, TellsWhereItsMetricsAre) {
  changes_ = {{"run.steps", "100000"}, {"eval.every", "0"}, {"telemetry.listen", "\"127.0.0.1:0\""}};
  Start("a");
  agent_.Give("a", 1, 0, 1);
  const std::string address =
      agent_.AwaitTell("a", [](const v1::TellRequest& tell) { return !tell.metrics_address().empty(); })
          .metrics_address();
  EXPECT_EQ(address.find("127.0.0.1:"), 0u) << address;
  EXPECT_NE(address, "127.0.0.1:0");
}

}  // namespace
}  // namespace filigree::attach
