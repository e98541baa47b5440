#include "worker/client/submission.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace filigree::client {
namespace {

std::string Config(const std::string& text) {
  std::string path = testing::TempDir() + "submission_test.toml";
  std::ofstream(path) << text;
  return path;
}

constexpr char kText[] =
    "[run]\ndir = \"runs/night\"\nname = \"night\"\nsteps = 10\n[data]\ndir = \"text\"\n[model]\ntensor_groups = "
    "2\n[train]\nshards = 8\n[parallel]\ndata = "
    "4\ntensor = 2\n";

TEST(Submission, TakesFromTheSettingsWhatIsNotGiven) {
  Submission submission;
  submission.config = Config(kText);
  submission.overrides = {"--run.steps=20"};
  const auto request = MakeSubmission(submission);
  ASSERT_TRUE(request.ok()) << request.status();
  const v1::JobSpec& spec = request->spec();
  EXPECT_EQ(spec.name(), "night");
  EXPECT_EQ(spec.config(), kText);
  EXPECT_EQ(spec.arguments(0), "--run.steps=20");
  EXPECT_EQ(spec.data(), 4);
  EXPECT_EQ(spec.tensor(), 2);
  EXPECT_EQ(spec.min_data(), 4);  // not elastic unless asked for
  EXPECT_EQ(spec.backend(), v1::BACKEND_GLOO);
}

TEST(Submission, WhatIsGivenWins) {
  Submission submission;
  submission.config = Config(kText);
  submission.name = std::string("other");
  submission.data = 8;
  submission.min_data = 2;
  submission.key = std::string("k");
  submission.backend = std::string("mpi");
  submission.queue_deadline = 60;
  const auto request = MakeSubmission(submission);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->spec().name(), "other");
  EXPECT_EQ(request->spec().data(), 8);
  EXPECT_EQ(request->spec().min_data(), 2);
  EXPECT_EQ(request->spec().idempotency_key(), "k");
  EXPECT_EQ(request->spec().backend(), v1::BACKEND_MPI);
  EXPECT_EQ(request->spec().deadlines().queue(), 60);
}

TEST(Submission, EverySubmissionHasAKeyOfItsOwn) {
  Submission submission;
  submission.config = Config(kText);
  const auto first = MakeSubmission(submission), second = MakeSubmission(submission);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FALSE(first->spec().idempotency_key().empty());
  EXPECT_NE(first->spec().idempotency_key(), second->spec().idempotency_key());
}

TEST(Submission, MistakesAreFoundBeforeAnythingIsSent) {
  const auto refused = [](const Submission& submission, const std::string& part) {
    const absl::Status status = MakeSubmission(submission).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  };
  Submission submission;
  submission.config = Config("[run]\nstepz = 3\n");
  refused(submission, "run.steps");
  submission.config = Config(kText);
  submission.overrides = {"--run.steps=many"};
  refused(submission, "run.steps");
  submission.overrides.clear();
  submission.backend = std::string("tcp");
  refused(submission, "expected gloo, mpi or local");
  submission.backend = std::string("local");
  refused(submission, "data 4 x tensor 2 are 8 ranks");
  submission.backend = std::string("nccl");
  refused(submission, "needs GPUs");
  submission.backend.clear();
  submission.data = 9;  // of eight shards
  refused(submission, "train.shards");
  submission.data.reset();
  submission.tensor = 3;  // of two groups
  refused(submission, "tensor_groups");
  submission.tensor.reset();
  submission.min_data = 5;
  refused(submission, "min_data");
  submission.min_data.reset();
  submission.name = std::string("a/b");
  refused(submission, "name");
  submission.config = testing::TempDir() + "submission_none.toml";
  EXPECT_EQ(MakeSubmission(submission).status().code(), absl::StatusCode::kNotFound);
}

// No rank would train: each generation would fail, and be started anew.
TEST(Submission, TheFoldersThatARunNeedsAreGiven) {
  Submission submission;
  submission.config = Config("[data]\ndir = \"text\"\n");
  submission.name = std::string("night");
  absl::Status status = MakeSubmission(submission).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()).find(submission.config + ": run.dir is not set"), 0u) << status;
  submission.config = Config("[run]\ndir = \"runs/night\"\n");
  status = MakeSubmission(submission).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()).find(submission.config + ": data.dir is not set"), 0u) << status;
  submission.overrides = {"--data.dir=text"};
  EXPECT_TRUE(MakeSubmission(submission).ok());
}

TEST(Submission, OneProcessIsABackendToo) {
  Submission submission;
  submission.config = Config(kText);
  submission.data = submission.tensor = 1;
  submission.backend = std::string("local");
  const auto request = MakeSubmission(submission);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->spec().backend(), v1::BACKEND_LOCAL);
}

}  // namespace
}  // namespace filigree::client
