#include "proto/contract/job_spec.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

namespace filigree::contract {
namespace {

JobSpec Sound() {
  JobSpec spec;
  spec.name = "night";
  spec.config = "[model]\nd_model = 64\n# caf\xc3\xa9\n";
  spec.arguments = {"--run.steps=100", "--run.name=\"x\""};
  spec.data = 4;
  spec.tensor = 2;
  spec.min_data = 2;
  spec.priority = -3;
  spec.idempotency_key = "key-1";
  spec.backend = Backend::kMpi;
  spec.restart_limit = 5;
  spec.deadlines = {10, 20, 30};
  return spec;
}

TEST(JobSpec, IsReadBackAsItWasWritten) {
  const JobSpec spec = Sound();
  const auto read = DecodeJobSpec(EncodeJobSpec(spec), "submit");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, spec);
  EXPECT_EQ(EncodeJobSpec(*read), EncodeJobSpec(spec));
}

TEST(JobSpec, FieldsLeftOutHaveTheirDefaults) {
  const auto read = DecodeJobSpec(R"({"name":"a"})", "submit");
  ASSERT_TRUE(read.ok()) << read.status();
  JobSpec plain;
  plain.name = "a";
  EXPECT_EQ(*read, plain);
  EXPECT_EQ(read->restart_limit, 3);
  EXPECT_EQ(read->backend, Backend::kGloo);
  EXPECT_EQ(read->deadlines, (Deadlines{0, 60, 120}));
}

struct Refusal {
  const char* text;
  const char* message;  // part of it
};

TEST(JobSpec, EveryRefusalNamesTheField) {
  const Refusal refusals[] = {
      {"", "submit: is no JSON"},
      {"{", "submit: is no JSON"},
      {"[]", "submit: is no JSON object"},
      {R"({"name":7})", "submit: name: a text was expected"},
      {R"({"name":"a","datta":1})", "submit: has an unknown field \"datta\""},
      {R"({"name":"a","data":1.5})", "submit: data: a whole number"},
      {R"({"name":"a","data":99999999999})", "submit: data: a whole number"},
      {R"({"name":"a","data":18446744073709551615})", "submit: data: a whole number"},
      {R"({"name":"a","data":"2"})", "submit: data: a whole number"},
      {R"({"name":"a","arguments":"--x=1"})", "submit: arguments: a list"},
      {R"({"name":"a","arguments":[1]})", "submit: arguments: a list of texts"},
      {R"({"name":"a","backend":"smoke"})", "submit: backend: \"smoke\" is unknown; local, gloo, mpi or nccl"},
      {R"({"name":"a","deadlines":3})", "submit: deadlines: is no JSON object"},
      {R"({"name":"a","deadlines":{"lunch":3}})", "submit: deadlines: has an unknown field \"lunch\""},
      {R"({"name":"a","deadlines":{"queue":-1}})", "submit: deadlines.queue: -1 is outside 0.."},
      {R"({})", "submit: name: \"\" is no name"},
  };
  for (const Refusal& refusal : refusals) {
    const auto read = DecodeJobSpec(refusal.text, "submit");
    ASSERT_FALSE(read.ok()) << refusal.text;
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(read.status().message()).find(refusal.message), std::string::npos) << refusal.text << "\n"
                                                                                             << read.status();
  }
}

TEST(JobSpec, RangesAndTextsAreChecked) {
  struct Case {
    std::function<void(JobSpec&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](JobSpec& s) { s.name = std::string(49, 'a'); }, "name: "},
      {[](JobSpec& s) { s.name = "a/b"; }, "name: \"a/b\" is no name"},
      {[](JobSpec& s) { s.data = 0; }, "data: 0 is outside 1..65536"},
      {[](JobSpec& s) { s.tensor = 0; }, "tensor: 0 is outside"},
      {[](JobSpec& s) { s.min_data = 5; }, "min_data: 5 is outside 1..4"},
      {[](JobSpec& s) { s.data = 40000; }, "data x tensor: 40000 x 2 are 80000 ranks; at most 65536"},
      {[](JobSpec& s) { s.priority = 1001; }, "priority: 1001 is outside -1000..1000"},
      {[](JobSpec& s) { s.idempotency_key = "no spaces"; }, "idempotency_key: "},
      {[](JobSpec& s) { s.restart_limit = -2; }, "restart_limit: -2 is outside -1..1000"},
      {[](JobSpec& s) { s.config = std::string("a\0b", 3); }, "config: has a control character at byte 1"},
      {[](JobSpec& s) { s.config = "ab\xc3("; }, "config: is not UTF-8 at byte 2"},
      {[](JobSpec& s) { s.config = "\xed\xa0\x80"; }, "config: is not UTF-8 at byte 0"},
      {[](JobSpec& s) { s.config = "\xf4\x90\x80\x80"; }, "config: is not UTF-8 at byte 0"},
      {[](JobSpec& s) { s.config = "\xc0\x80"; }, "config: is not UTF-8 at byte 0"},
      {[](JobSpec& s) { s.config = std::string(kMaxConfigBytes + 1, 'x'); }, "config: has 1048577 bytes"},
      {[](JobSpec& s) { s.arguments = {"run.steps=1"}; }, "arguments[0]: \"run.steps=1\" is no override"},
      {[](JobSpec& s) {
         s.arguments = {"--a=b", "--x"};
       },
       "arguments[1]: "},
      {[](JobSpec& s) { s.arguments = {"--a=b\nc"}; }, "arguments[0]: has a control character"},
      {[](JobSpec& s) { s.arguments.assign(257, "--a=b"); }, "arguments: 257 of them"},
  };
  EXPECT_TRUE(Validate(Sound()).ok());
  for (const Case& item : cases) {
    JobSpec spec = Sound();
    item.spoil(spec);
    const absl::Status status = Validate(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << item.message;
    EXPECT_NE(std::string(status.message()).find(item.message), std::string::npos) << status << "\n" << item.message;
  }
}

TEST(JobSpec, DifferencesAreNamed) {
  const JobSpec spec = Sound();
  EXPECT_EQ(DifferingFields(spec, spec), "");
  JobSpec other = spec;
  other.config += "x";
  other.deadlines.start = 21;
  EXPECT_EQ(DifferingFields(spec, other), "config, deadlines");
}

// Bytes changed at random end in a spec or a refusal, and what is taken is valid.
TEST(JobSpec, DamagedTextIsTakenOnlyWhereItIsValid) {
  constexpr uint32_t kSeed = 20;
  std::mt19937 random(kSeed);
  const std::string sound = EncodeJobSpec(Sound());
  int taken = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = sound;
    for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes)
      text[random() % text.size()] = static_cast<char>(random() % 256);
    if (random() % 4 == 0) text.resize(random() % text.size());
    const auto read = DecodeJobSpec(text, "fuzz");
    if (!read.ok()) continue;
    ++taken;
    EXPECT_TRUE(Validate(*read).ok()) << "seed " << kSeed << " round " << round;
    const auto again = DecodeJobSpec(EncodeJobSpec(*read), "again");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *read);
  }
  EXPECT_GT(taken, 100);
}

}  // namespace
}  // namespace filigree::contract
