#include "worker/telemetry/read_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/support/tiles.h"

// Logs as they are found: whole, torn, damaged, foreign.

namespace filigree::telemetry {
namespace {

class ReadLogTest : public ::testing::Test {
 protected:
  ReadLogTest() : path_(std::filesystem::path(testing::TempDir()) / "filigree_read_log_test.jsonl") {}
  ~ReadLogTest() override { std::filesystem::remove(path_); }
  RunLog Read(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    const auto log = ReadLog(path_);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *log : RunLog();
  }
  std::filesystem::path path_;
};

std::string Step(int64_t step) {
  StepRecord record;
  record.step = step;
  record.loss = 3 + 0.001 * static_cast<double>(step);
  return FormatRecord(record);
}

TEST_F(ReadLogTest, SortsRecordsByKind) {
  const RunLog log = Read(FormatRecord(RunRecord{0, 3, 10, 1, "n", {}, {}}) + Step(0) +
                          FormatRecord(EvalRecord{1, 3, 1, 5, 1, {}}) + FormatRecord(SampleRecord{1, "p", "t"}) +
                          FormatRecord(SnapshotRecord{1, {}}) + FormatRecord(CheckpointRecord{1, 1, 1, "c"}) +
                          FormatRecord(NoteRecord{1, "n"}) + Step(1) + Step(2) + FormatRecord(EndRecord{3, 1, "done"}));
  EXPECT_EQ(log.runs.size(), 1U);
  ASSERT_EQ(log.steps.size(), 3U);
  EXPECT_EQ(log.steps[2].step, 2);
  EXPECT_EQ(log.evals.size(), 1U);
  EXPECT_EQ(log.samples.size(), 1U);
  EXPECT_EQ(log.snapshots.size(), 1U);
  EXPECT_EQ(log.checkpoints.size(), 1U);
  EXPECT_EQ(log.notes.size(), 1U);
  EXPECT_EQ(log.ends.size(), 1U);
  EXPECT_EQ(log.damaged_lines, 0);
}

TEST_F(ReadLogTest, LeavesOutTornDamagedAndForeignLines) {
  const std::string whole = Step(0) + "garbage\n" + Step(1) + "\n" + std::string(17 << 20, '{') + "\n" +
                            R"({"kind":"dance","step":4})" + "\n" + Step(2);
  const RunLog log = Read(whole + Step(3).substr(0, 40));
  ASSERT_EQ(log.steps.size(), 3U);
  EXPECT_EQ(log.steps[2].loss, 3.002);
  EXPECT_EQ(log.damaged_lines, 3);
}

TEST_F(ReadLogTest, EmptyAndMissing) {
  EXPECT_TRUE(Read("").steps.empty());
  const auto missing = ReadLog("/nonexistent/steps.jsonl");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(missing.status().message()).find("/nonexistent/steps.jsonl"), std::string::npos);
  EXPECT_EQ(ReadLog(testing::TempDir()).value().damaged_lines, 1);  // a folder can be opened, but not read
}

// Lines around the size of the reading buffer: every end is where the newline is.
TEST_F(ReadLogTest, OffsetsAreThoseOfTheFile) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  testing_support::Rng rng(kSeed);
  std::vector<std::string> lines;
  std::string text;
  for (int i = 0; i < 40; ++i) {
    lines.emplace_back(rng.Below(1 << (rng.Below(22))), static_cast<char>('a' + i % 26));
    text += lines.back() + "\n";
  }
  lines.emplace_back((1 << 20) - 1, 'z');
  text += lines.back() + "\n";
  std::ofstream(path_, std::ios::binary) << text << "torn";
  int64_t end = 0;
  size_t i = 0;
  ASSERT_TRUE(ForEachLine(path_, [&](const std::string& line, int64_t offset) {
                ASSERT_LT(i, lines.size());
                EXPECT_EQ(line, lines[i]);
                end += static_cast<int64_t>(lines[i++].size()) + 1;
                EXPECT_EQ(offset, end);
              }).ok());
  EXPECT_EQ(i, lines.size());
}

// A log with any bytes changed is read without a crash, and the untouched lines are there.
TEST_F(ReadLogTest, SurvivesMutations) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  testing_support::Rng rng(kSeed);
  std::string whole = FormatRecord(SnapshotRecord{1, {{"a", 0, "k", 1, 1, 1, 1, 1, {}}}});
  for (int i = 0; i < 20; ++i) whole += Step(i);
  for (int round = 0; round < 300; ++round) {
    std::string text = whole;
    for (int n = 0; n < 3; ++n) text[rng.Below(text.size())] = static_cast<char>(rng.Below(256));
    EXPECT_GE(Read(text).steps.size(), 14U);  // a changed newline damages two lines
  }
}

}  // namespace
}  // namespace filigree::telemetry
