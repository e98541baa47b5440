// A profile of a small run: what it counts, that it agrees with itself, and that the run is left as it was.

#include "worker/profile/profile.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/support/tiles.h"
#include "worker/data/prepare.h"
#include "worker/profile/profile_text.h"
#include "worker/run/trainer.h"

namespace filigree::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kLayers = 2, kBatch = 4, kContext = 70, kTiles = 2;  // tiles of a sequence

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Names and bytes of everything below a folder.
std::map<std::string, std::string> Contents(const std::string& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    contents[entry.path().string()] = entry.is_regular_file() ? ReadAll(entry.path()) : "";
  }
  return contents;
}

class ProfileTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = ::testing::TempDir() + "/filigree-profile-test-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    testing_support::Rng rng(5);
    fs::create_directories(folder_ + "/text");
    for (int file = 0; file < 12; ++file) {
      std::ofstream out(fmt::format("{}/text/{}.py", folder_, file));
      for (int line = 0; line < 150; ++line) {
        out << fmt::format("value_{} = other_{} + {}\n", rng.Below(30), rng.Below(30), rng.Below(1000));
      }
    }
    data::PrepareOptions options;
    options.inputs = {folder_ + "/text"};
    options.out = folder_ + "/data";
    options.vocab = 270;
    options.val_fraction = 0.3;
    options.threads = 1;
    const auto prepared = data::Prepare(options, {});
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    std::ofstream(folder_ + "/none.toml") << "";
    // A temporary folder of our own, so that what is left in it shows.
    fs::create_directories(folder_ + "/tmp");
    ::setenv("TMPDIR", (folder_ + "/tmp").c_str(), 1);
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  std::string RunDir() const { return folder_ + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name(); }

  std::vector<std::string> Settings() const {
    return {"run.dir=" + RunDir(),
            "data.dir=" + folder_ + "/data",
            "run.steps=40",
            "run.threads=2",
            "run.name=small",
            "model.d_model=32",
            fmt::format("model.n_layer={}", kLayers),
            "model.d_head=16",
            fmt::format("model.n_ctx={}", kContext),
            fmt::format("train.batch={}", kBatch),
            "train.shards=2",
            "sparsity.density=1/8",
            "sparsity.density_start=1/8",
            "eval.every=0",
            "sample.every=0"};
  }

  ProfileOptions Options() const {
    return {.config = folder_ + "/none.toml", .overrides = Settings(), .steps = 2, .warmup = 1};
  }

  // Trains `steps` steps into RunDir().
  void Train(int steps) const {
    auto run = OpenRun(folder_ + "/none.toml", Settings());
    ASSERT_TRUE(run.ok()) << run.status();
    TrainerOptions options;
    options.output = telemetry::Output::kQuiet;
    int asked = 0;
    options.stop_requested = [&] { return ++asked > steps; };
    const auto end = Trainer(*run, options).Run();
    ASSERT_TRUE(end.ok()) << end.status();
    ASSERT_EQ(run->state->step, steps);
  }

  inline static std::string folder_;
};

const KernelTime* Find(const Profile& profile, const std::string& name) {
  for (const KernelTime& kernel : profile.kernels) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

TEST_F(ProfileTest, EveryKernelOfTheStepsIsOnRecord) {
  const auto profile = ProfileRun(Options());
  ASSERT_TRUE(profile.ok()) << profile.status();
  ASSERT_EQ(profile->steps.size(), 2u);
  EXPECT_EQ(profile->steps[0].step, 1);  // after the warm-up
  EXPECT_EQ(profile->steps[1].step, 2);
  EXPECT_EQ(profile->tokens_per_step, kBatch * kContext);
  EXPECT_DOUBLE_EQ(profile->density, 1.0 / 8);
  const int64_t tiles = 2 * kBatch * kTiles, heads = 2 * kBatch * 2 * kLayers;
  ASSERT_NE(Find(*profile, "attention"), nullptr);
  EXPECT_EQ(Find(*profile, "attention")->calls, heads);
  ASSERT_NE(Find(*profile, "attention.backward"), nullptr);
  EXPECT_EQ(Find(*profile, "attention.backward")->calls, heads);
  ASSERT_NE(Find(*profile, "activation"), nullptr);
  EXPECT_EQ(Find(*profile, "activation")->calls, tiles * kLayers);
  EXPECT_EQ(Find(*profile, "activation")->bytes, 8.0 * 64 * 128 * static_cast<double>(tiles * kLayers));
  for (const char* name : {"rms_norm", "rms_norm.backward", "abs_topk", "adam", "cross_entropy.backward"}) {
    ASSERT_NE(Find(*profile, name), nullptr) << name;
    EXPECT_GT(Find(*profile, name)->seconds, 0) << name;
  }
}

TEST_F(ProfileTest, SpansNestAndTheirTimeIsThatOfTheThreads) {
  const auto profile = ProfileRun(Options());
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_LE(profile->trace.size(), 2u);
  const int64_t begin = profile->steps.front().start_ns, end = profile->steps.back().end_ns;
  for (const kernels::ThreadTrace& thread : profile->trace) {
    std::vector<kernels::TraceEvent> events = thread.events;
    std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
      return a.start_ns != b.start_ns ? a.start_ns < b.start_ns : a.end_ns > b.end_ns;
    });
    std::vector<int64_t> open;  // ends of the spans around
    for (const kernels::TraceEvent& event : events) {
      EXPECT_LE(begin, event.start_ns);
      EXPECT_LE(event.end_ns, end);
      while (!open.empty() && open.back() <= event.start_ns) open.pop_back();
      if (!open.empty()) {
        EXPECT_LE(event.end_ns, open.back()) << event.name;
      }
      open.push_back(event.end_ns);
    }
  }
  EXPECT_GT(profile->kernel_seconds(), 0);
  EXPECT_LE(profile->kernel_seconds() + profile->off_core_seconds(), profile->thread_seconds());
  EXPECT_LE(profile->phases.sum(), profile->wall_seconds);
}

TEST_F(ProfileTest, TheChromeTraceHoldsEverySpan) {
  const auto profile = ProfileRun(Options());
  ASSERT_TRUE(profile.ok()) << profile.status();
  const std::string path = folder_ + "/trace.json";
  ASSERT_TRUE(WriteChromeTrace(*profile, path).ok());
  EXPECT_FALSE(fs::exists(path + ".tmp"));
  const json trace = json::parse(ReadAll(path));
  std::map<std::string, int64_t> calls;
  int steps = 0;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "M") continue;
    ASSERT_EQ(event["ph"], "X");
    EXPECT_GE(event["ts"], 0);
    EXPECT_GE(event["dur"], 0);
    EXPECT_EQ(event["pid"], 1);
    ASSERT_TRUE(event.contains("tid"));
    if (event["cat"] == "step") {
      steps += event["name"] != "data";
      continue;
    }
    ++calls[event["name"]];
    for (const char* key : {"flops", "bytes", "gflops", "gbps", "cpu_us", "threads"}) {
      EXPECT_TRUE(event["args"].contains(key)) << key;
    }
  }
  EXPECT_EQ(steps, 2);
  std::map<std::string, int64_t> recorded;
  for (const kernels::ThreadTrace& thread : profile->trace) {
    for (const kernels::TraceEvent& event : thread.events) ++recorded[event.name];
  }
  EXPECT_EQ(calls, recorded);
  // The table leaves out calls from inside of other kernels.
  for (const KernelTime& kernel : profile->kernels) EXPECT_LE(kernel.calls, calls[kernel.name]) << kernel.name;
  EXPECT_EQ(WriteChromeTrace(*profile, folder_ + "/no/trace.json").code(), absl::StatusCode::kNotFound);
}

TEST_F(ProfileTest, TableAndJsonSayTheSame) {
  const auto profile = ProfileRun(Options());
  ASSERT_TRUE(profile.ok()) << profile.status();
  const std::string table = FormatTable(*profile);
  std::istringstream lines(FormatJson(*profile));
  std::map<std::string, int> kinds;
  double kernels = 0, phases = 0;
  json head;
  for (std::string line; std::getline(lines, line);) {
    const json record = json::parse(line);
    const std::string kind = record["kind"];
    ++kinds[kind];
    if (kind == "profile") {
      head = record;
      continue;
    }
    EXPECT_NE(table.find(record["name"].get<std::string>()), std::string::npos) << line;
    (kind == "kernel" ? kernels : phases) += record["percent_of_time"].get<double>();
  }
  EXPECT_EQ(kinds["profile"], 1);
  EXPECT_EQ(kinds["kernel"], static_cast<int>(profile->kernels.size()));
  EXPECT_EQ(kinds["phase"], 6);
  EXPECT_NEAR(phases, 100, 0.1);
  const double all = head["kernel_thread_ms_per_step"], off = head["off_core_thread_ms_per_step"],
               none = head["no_kernel_thread_ms_per_step"];
  EXPECT_NEAR(all / (all + off + none), kernels / 100, 0.01);
  EXPECT_GT(head["percent_of_peak"], 0);
  EXPECT_LT(head["percent_of_peak"], 100);
  EXPECT_NE(table.find("speed of light"), std::string::npos);
}

TEST_F(ProfileTest, ARunIsProfiledWhereItStandsAndLeftAsItWas) {
  Train(3);
  const auto lock = checkpoint::RunLock::Acquire(RunDir());  // as if it were training
  ASSERT_TRUE(lock.ok());
  const auto before = Contents(RunDir());
  ProfileOptions options{.config = RunDir(), .overrides = {}, .steps = 2, .warmup = 0};
  const auto profile = ProfileRun(options);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->run, "small");
  EXPECT_EQ(profile->steps[0].step, 3);
  EXPECT_EQ(Contents(RunDir()), before);
  EXPECT_TRUE(fs::is_empty(folder_ + "/tmp"));
  const auto resumed = std::find_if(profile->notes.begin(), profile->notes.end(), [&](const std::string& note) {
    return note.find("resumed from " + RunDir() + "/checkpoints/") != std::string::npos;
  });
  EXPECT_NE(resumed, profile->notes.end());
}

TEST_F(ProfileTest, AConfigurationIsProfiledFromItsBeginningAndItsFolderIsNotMade) {
  ProfileOptions options = Options();
  options.warmup = 0;
  const auto profile = ProfileRun(options);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->steps[0].step, 0);
  EXPECT_FALSE(fs::exists(RunDir()));
  EXPECT_TRUE(fs::is_empty(folder_ + "/tmp"));
}

TEST_F(ProfileTest, ACompleteRunIsSetBackToItsLastSteps) {
  Train(40);
  const auto profile = ProfileRun({.config = RunDir(), .overrides = {}, .steps = 2, .warmup = 1});
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->steps[0].step, 38);
  EXPECT_EQ(profile->steps[1].step, 39);
  EXPECT_NE(profile->notes.back().find("at step 40 of 40"), std::string::npos);
}

void ExpectRefused(const ProfileOptions& options, absl::StatusCode code, const std::vector<std::string>& words) {
  const auto profile = ProfileRun(options);
  ASSERT_FALSE(profile.ok());
  EXPECT_EQ(profile.status().code(), code) << profile.status();
  for (const std::string& word : words) {
    EXPECT_NE(profile.status().ToString().find(word), std::string::npos) << word << ": " << profile.status();
  }
}

TEST_F(ProfileTest, WhatCannotBeProfiledIsRefusedInTheUsersWords) {
  ProfileOptions options = Options();
  options.steps = 0;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"--steps is 0", "from 1"});
  options = Options();
  options.warmup = -1;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"--warmup is -1", "from 0"});
  options = Options();
  options.steps = 41;
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, {"42 steps", "the run has 40"});
  options = Options();
  options.config = folder_ + "/absent.toml";
  ExpectRefused(options, absl::StatusCode::kNotFound, {"absent.toml"});
  options.config = folder_ + "/text";
  ExpectRefused(options, absl::StatusCode::kNotFound, {folder_ + "/text", "holds no run"});
  EXPECT_TRUE(fs::is_empty(folder_ + "/tmp"));
}

TEST_F(ProfileTest, ADamagedRunIsNamedByItsOwnFolder) {
  Train(1);
  for (const auto& entry : fs::recursive_directory_iterator(RunDir() + "/checkpoints")) {
    if (entry.is_regular_file()) fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  }
  ExpectRefused({.config = RunDir(), .overrides = {}}, absl::StatusCode::kDataLoss, {RunDir() + "/checkpoints/step-"});
}

}  // namespace
}  // namespace filigree::train
