#include "worker/client/logs.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

// Parts of logs become lines.

namespace filigree::client {
namespace {

class LogLinesTest : public testing::Test {
 protected:
  LogLinesTest() : file_(open_memstream(&text_, &size_)) { options_.out = file_; }
  ~LogLinesTest() override {
    std::fclose(file_);
    std::free(text_);
  }

  static v1::ReadLogReply Part(int32_t rank, int64_t offset, const std::string& text, int64_t generation = 1) {
    v1::ReadLogReply reply;
    v1::LogPart& part = *reply.add_parts();
    part.set_generation(generation);
    part.set_rank(rank);
    part.set_offset(offset);
    part.set_text(text);
    return reply;
  }
  static v1::ReadLogReply CaughtUp() {
    v1::ReadLogReply reply;
    reply.set_caught_up(true);
    return reply;
  }
  std::string Told() {
    std::fflush(file_);
    return {text_, size_};
  }

  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* const file_;
  LogOptions options_;
};

TEST_F(LogLinesTest, LinesStayWholeHoweverPartsCome) {
  LogLines lines(options_, 2);
  lines.Take(Part(0, 0, "first "));
  lines.Take(Part(11, 0, "other\r\n"));
  lines.Take(Part(0, 6, "line\nsecond"));
  EXPECT_EQ(Told(), "rank 11 | other\nrank  0 | first line\n");
  lines.End();
  EXPECT_EQ(Told(), "rank 11 | other\nrank  0 | first line\nrank  0 | second\n");
  EXPECT_EQ(lines.told(), 3);
}

TEST_F(LogLinesTest, WhatIsKnownIsPassedOverAndWhatIsMissingIsTold) {
  LogLines lines(options_, 0);
  lines.Take(Part(0, 10, "a\nb\n"));
  lines.Take(Part(0, 10, "a\nb\n"));
  lines.Take(Part(0, 12, "b\nc"));
  lines.Take(Part(0, 100, "d\n"));
  EXPECT_EQ(Told(), "[10 bytes are not kept]\na\nb\nc\n[85 bytes are not kept]\nd\n");
}

TEST_F(LogLinesTest, TheBeginningOfATailIsNotMissed) {
  options_.tail_bytes = 2;
  LogLines lines(options_, 0);
  lines.Take(Part(0, 10, "a\n"));
  EXPECT_EQ(Told(), "a\n");
}

TEST_F(LogLinesTest, NothingPrintedReachesTheTerminalAsACommand) {
  LogLines lines(options_, 0);
  lines.Take(Part(0, 0,
                  "\x1b[2J\x07\xc2\x9b"
                  "31m\tok \xff caf\xc3\xa9\n"));
  EXPECT_EQ(Told(),
            "\xef\xbf\xbd[2J\xef\xbf\xbd\xef\xbf\xbd"
            "31m\tok \xef\xbf\xbd caf\xc3\xa9\n");
}

TEST_F(LogLinesTest, ATailOfLinesIsOverAllRanks) {
  options_.tail_lines = 2;
  options_.follow = true;
  LogLines lines(options_, 1);
  lines.Take(Part(0, 0, "a\nb\n"));
  lines.Take(Part(1, 0, "c\nd"));
  EXPECT_EQ(Told(), "");
  lines.Take(CaughtUp());
  EXPECT_EQ(Told(), "rank 0 | b\nrank 1 | c\n");
  lines.Take(Part(1, 3, "e\n"));
  EXPECT_EQ(Told(), "rank 0 | b\nrank 1 | c\nrank 1 | de\n");
}

TEST_F(LogLinesTest, WithoutFollowingATailEndsWithTheUnfinishedLine) {
  options_.tail_lines = 1;
  LogLines lines(options_, 0);
  lines.Take(Part(0, 0, "a\nb"));
  lines.Take(CaughtUp());
  lines.End();
  EXPECT_EQ(Told(), "b\n");
}

TEST_F(LogLinesTest, AnotherGenerationIsSaid) {
  LogLines lines(options_, 0);
  lines.Take(Part(0, 0, "a\n", 1));
  lines.Take(Part(0, 0, "b\n", 2));
  EXPECT_EQ(Told(), "a\n--- generation 2\nb\n");
}

TEST_F(LogLinesTest, ForScriptsALineIsAnObject) {
  options_.json = true;
  LogLines lines(options_, 1);
  lines.Take(Part(3, 2, "a\"\n", 7));
  EXPECT_EQ(Told(), "{\"generation\":7,\"rank\":3,\"missing\":2}\n{\"generation\":7,\"rank\":3,\"text\":\"a\\\"\"}\n");
}

TEST_F(LogLinesTest, ALineWithoutEndIsCutAndNotKept) {
  LogLines lines(options_, 0);
  for (int i = 0; i < 3; ++i) lines.Take(Part(0, i * 50'000, std::string(50'000, 'x')));
  EXPECT_EQ(Told().size(), 100'001u);
}

}  // namespace
}  // namespace filigree::client
