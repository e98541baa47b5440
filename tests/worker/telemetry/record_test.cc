#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "worker/telemetry/read_log.h"

// Records as lines of JSON and back.

namespace filigree::telemetry {
namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

template <typename T>
T Back(const T& record) {
  const std::string line = FormatRecord(record);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  Record back;
  EXPECT_TRUE(ParseRecord(line.substr(0, line.size() - 1), back)) << line;
  EXPECT_TRUE(std::holds_alternative<T>(back));
  return std::get<T>(back);
}

TEST(Record, StepKeepsEveryBit) {
  StepRecord r{
      7, 3.1234567890123456, -0.1, 5.12e-2, 1.0 / 3, 0.25, 12.5, 1e-300, 412.25, 9941.5, 23.4, 2.2, 0.125, {}, {}, {}};
  for (int i = 0; i < kPhases; ++i) r.phase_seconds[i] = 0.1 * i;
  r.wire = {1'000, 2'000, 90'000'000'000};
  r.nnz = {{"h.0.c_fc", 123}, {"wte", 9'000'000'000}};
  const StepRecord b = Back(r);
  EXPECT_EQ(b.step, 7);
  EXPECT_EQ(b.loss, r.loss);
  EXPECT_EQ(b.z_score, r.z_score);
  EXPECT_EQ(b.lr, r.lr);
  EXPECT_EQ(b.density, r.density);
  EXPECT_EQ(b.embedding_density, r.embedding_density);
  EXPECT_EQ(b.gradient_norm, r.gradient_norm);
  EXPECT_EQ(b.gradient_rms, r.gradient_rms);
  EXPECT_EQ(b.ms, r.ms);
  EXPECT_EQ(b.tokens_per_second, r.tokens_per_second);
  EXPECT_EQ(b.percent_of_peak, r.percent_of_peak);
  EXPECT_EQ(b.bits_per_byte, r.bits_per_byte);
  EXPECT_EQ(b.epochs, r.epochs);
  EXPECT_EQ(b.phase_seconds, r.phase_seconds);
  EXPECT_EQ(b.wire.sent, 1'000);
  EXPECT_EQ(b.wire.received, 2'000);
  EXPECT_EQ(b.wire.dense_equivalent, 90'000'000'000);
  ASSERT_EQ(b.nnz.size(), 2U);
  EXPECT_EQ(b.nnz[1].name, "wte");
  EXPECT_EQ(b.nnz[1].count, 9'000'000'000);
}

TEST(Record, OtherKindsComeBackWhole) {
  const RunRecord run = Back(RunRecord{5,
                                       600,
                                       4096,
                                       1.7e9 + 0.125,
                                       "a \"name\"",
                                       {{"unigram", 5.5}, {"bigram", 3.5}},
                                       {{"threads", "2"}, {"corpus", "x\ny"}}});
  EXPECT_EQ(run.step, 5);
  EXPECT_EQ(run.steps, 600);
  EXPECT_EQ(run.tokens_per_step, 4096);
  EXPECT_EQ(run.started, 1.7e9 + 0.125);
  EXPECT_EQ(run.name, "a \"name\"");
  ASSERT_EQ(run.baselines.size(), 2U);
  EXPECT_EQ(run.baselines[0].name, "unigram");  // the order of the writer
  EXPECT_EQ(run.baselines[1].value, 3.5);
  ASSERT_EQ(run.facts.size(), 2U);
  EXPECT_EQ(run.facts[1].text, "x\ny");
  const EvalRecord eval = Back(EvalRecord{10, 3.25, 1.5, 16000, 0.5, {{"bigram", 3.5}}});
  EXPECT_EQ(eval.step, 10);
  EXPECT_EQ(eval.loss, 3.25);
  EXPECT_EQ(eval.bits_per_byte, 1.5);
  EXPECT_EQ(eval.tokens, 16000);
  EXPECT_EQ(eval.seconds, 0.5);
  EXPECT_EQ(eval.baselines.at(0).value, 3.5);
  const SampleRecord sample = Back(SampleRecord{3, "def ", "f(x):\n\treturn \x01 é"});
  EXPECT_EQ(sample.prompt, "def ");
  EXPECT_EQ(sample.text, "f(x):\n\treturn \x01 é");
  const CheckpointRecord checkpoint = Back(CheckpointRecord{4, 0.25, 1 << 30, "runs/a/checkpoints/4"});
  EXPECT_EQ(checkpoint.seconds, 0.25);
  EXPECT_EQ(checkpoint.bytes, 1 << 30);
  EXPECT_EQ(checkpoint.path, "runs/a/checkpoints/4");
  EXPECT_EQ(Back(NoteRecord{4, "disk full"}).text, "disk full");
  const EndRecord end = Back(EndRecord{600, 12.5, "done"});
  EXPECT_EQ(end.seconds, 12.5);
  EXPECT_EQ(end.reason, "done");
}

TEST(Record, SnapshotComesBackWhole) {
  SnapshotRecord r{9,
                   {{"h.0.c_fc", 0, "c_fc", 4096, 64, 128, 127, 1e-3, {}}, {"wte", -1, "wte", 10, 10, 5, 5, 0.5, {}}}};
  for (int i = 0; i < kMagnitudeBins; ++i) r.matrices[0].magnitudes[i] = i * i;
  const SnapshotRecord b = Back(r);
  ASSERT_EQ(b.matrices.size(), 2U);
  const MatrixSnapshot &x = b.matrices[0], &y = r.matrices[0];
  EXPECT_EQ(x.name, y.name);
  EXPECT_EQ(x.layer, 0);
  EXPECT_EQ(x.kind, y.kind);
  EXPECT_EQ(x.numel, y.numel);
  EXPECT_EQ(x.nnz, y.nnz);
  EXPECT_EQ(x.units, y.units);
  EXPECT_EQ(x.alive_units, y.alive_units);
  EXPECT_EQ(x.threshold, y.threshold);
  EXPECT_EQ(x.magnitudes, y.magnitudes);
  EXPECT_EQ(b.matrices[1].layer, -1);
}

TEST(Record, NotFiniteIsNullAndReadsAsNan) {
  StepRecord r;
  r.loss = kNan;
  r.lr = std::numeric_limits<double>::infinity();
  const std::string line = FormatRecord(r);
  EXPECT_NE(line.find("\"loss\":null"), std::string::npos) << line;
  EXPECT_TRUE(nlohmann::json::accept(line));
  const StepRecord b = Back(r);
  EXPECT_TRUE(std::isnan(b.loss));
  EXPECT_TRUE(std::isnan(b.lr));
}

TEST(Record, BytesThatAreNotTextAreReplaced) {
  EXPECT_EQ(Back(SampleRecord{1, "\xff", "a\xc3"}).text, "a\xef\xbf\xbd");
  EXPECT_EQ(Back(NoteRecord{1, std::string("a\0b", 3)}).text, std::string("a\0b", 3));
}

TEST(Record, MissingAndForeignValuesReadAsNothing) {
  Record record;
  ASSERT_TRUE(
      ParseRecord(R"({"kind":"step","step":3,"loss":"high","nnz":[1],"phase_seconds":5,"new":{"a":[]}})", record));
  const auto& step = std::get<StepRecord>(record);
  EXPECT_EQ(step.step, 3);
  EXPECT_TRUE(std::isnan(step.loss));
  EXPECT_TRUE(std::isnan(step.phase_seconds[0]));
  EXPECT_TRUE(step.nnz.empty());
  ASSERT_TRUE(ParseRecord(R"({"kind":"run","step":0,"steps":18446744073709551615,"baselines":3})", record));
  EXPECT_EQ(std::get<RunRecord>(record).steps, 0);
  ASSERT_TRUE(
      ParseRecord(R"({"kind":"snapshot","step":0,"matrices":[3,{"name":5,"magnitudes":[1,"x",2.5]}]})", record));
  EXPECT_EQ(std::get<SnapshotRecord>(record).matrices.size(), 2U);
  EXPECT_EQ(std::get<SnapshotRecord>(record).matrices[1].magnitudes[2], 2);
}

TEST(Record, WhatIsNoneIsRefused) {
  Record record;
  for (const char* line :
       {"", "{", "null", "[]", "3", "\"step\"", "{}", R"({"kind":"step"})", R"({"step":1})",
        R"({"kind":"step","step":-1})", R"({"kind":"step","step":1.5})", R"({"kind":"dance","step":1})",
        R"({"kind":3,"step":1})", R"({"kind":"step","step":1} x)", "\xff\xfe"})
    EXPECT_FALSE(ParseRecord(line, record)) << line;
  EXPECT_FALSE(ParseRecord(std::string(2'000'000, '['), record));
  const std::string open(200'000, '['), close(200'000, ']');
  EXPECT_TRUE(ParseRecord(R"({"kind":"note","step":1,"deep":)" + open + close + "}", record));
}

TEST(MagnitudeBin, IsTheHalfOctaveOfItsEdges) {
  EXPECT_EQ(MagnitudeBin(1e-30F), 0);
  EXPECT_EQ(MagnitudeBin(1.0F), 1 + 2 * 20);
  EXPECT_EQ(MagnitudeBin(-1.5F), 2 + 2 * 20);
  EXPECT_EQ(MagnitudeBin(16.0F), kMagnitudeBins - 1);
  EXPECT_EQ(MagnitudeBin(1e30F), kMagnitudeBins - 1);
  EXPECT_EQ(MagnitudeBin(std::numeric_limits<float>::infinity()), kMagnitudeBins - 1);
  EXPECT_EQ(MagnitudeBinEdge(0), 0);
  for (int bin = 1; bin < kMagnitudeBins; ++bin) {
    const auto edge = static_cast<float>(MagnitudeBinEdge(bin));
    EXPECT_EQ(MagnitudeBin(edge), bin);
    EXPECT_EQ(MagnitudeBin(-edge), bin);
    EXPECT_EQ(MagnitudeBin(std::nextafter(edge, 0.0F)), bin - 1);
  }
}

}  // namespace
}  // namespace filigree::telemetry
