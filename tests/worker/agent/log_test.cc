#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "worker/agent/log_book.h"
#include "worker/agent/rank_log.h"

// What ranks print: in files, in memory, on its way to the coordinator.

namespace filigree::agent {
namespace {

std::string Folder() {
  std::string folder = testing::TempDir() + "agent_log_XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  return folder;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(RankLog, TheFileIsBegunAnewWhenItIsFull) {
  const std::string path = Folder() + "/rank.log";
  RankLog log(path, 10);
  log.Append("0123456");
  log.Append("789abcdefghijklmno");
  EXPECT_EQ(Bytes(path), "klmno");
  EXPECT_EQ(Bytes(path + ".1"), "abcdefghij");
  struct stat facts = {};
  ASSERT_EQ(stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
}

TEST(RankLog, WithoutAFileItGoesOnInMemory) {
  RankLog log("/no/such/folder/rank.log");
  log.Append("words\n");
  EXPECT_EQ(log.Tail(5, 100), "words");
}

TEST(RankLog, TheTailIsWholeLinesAndClean) {
  RankLog log(Folder() + "/rank.log");
  EXPECT_EQ(log.Tail(5, 100), "");
  log.Append("one\ntwo\n\x1b[31mthree\n\n");
  EXPECT_EQ(log.Tail(1, 100), "\xef\xbf\xbd[31mthree");
  EXPECT_EQ(log.Tail(2, 100), "two\n\xef\xbf\xbd[31mthree");
  EXPECT_EQ(log.Tail(9, 100), "one\ntwo\n\xef\xbf\xbd[31mthree");
  EXPECT_EQ(log.Tail(9, 16).find("one"), std::string::npos);
}

TEST(RankLog, OfOneLongLineTheTailIsItsEnd) {
  RankLog log(Folder() + "/rank.log");
  log.Append("first\n" + std::string(300, 'x') + "end");
  EXPECT_EQ(log.Tail(5, 10), "xxxxxxxend");
  RankLog bytes(Folder() + "/rank.log");
  bytes.Append(std::string(300, '\xff') + "end");
  EXPECT_LE(bytes.Tail(5, 100).size(), 100u);
  EXPECT_EQ(bytes.Tail(5, 100).substr(0, 3), "\xef\xbf\xbd");
}

TEST(RankLog, WhatIsNotSentInTimeLeavesAGap) {
  RankLog log(Folder() + "/rank.log");
  log.Append("abc");
  EXPECT_EQ(log.Unsent(100).bytes, "abc");
  log.MarkSent(2);
  EXPECT_EQ(log.Unsent(100).offset, 2);
  EXPECT_EQ(log.Unsent(100).bytes, "c");
  for (int i = 0; i < 40; ++i) log.Append(std::string(10'000, static_cast<char>('a' + i % 26)));
  const RankLog::Piece piece = log.Unsent(1 << 20);
  EXPECT_GT(piece.offset, 2);
  EXPECT_GE(piece.bytes.size(), RankLog::kMemoryBytes);
  EXPECT_EQ(piece.offset + static_cast<int64_t>(piece.bytes.size()), 400'003);
  log.MarkSent(1 << 30);
  EXPECT_TRUE(log.all_sent());
  EXPECT_TRUE(log.Unsent(100).bytes.empty());
}

class Books : public testing::Test {
 protected:
  Books() : folder_(Folder()), book([this](const RankId& id) { return folder_ + "/" + std::to_string(id.rank); }) {}

  const std::string folder_;

 public:
  LogBook book;
};

TEST_F(Books, AMessageIsOfOneGenerationAndEveryJobHasItsTurn) {
  book.Append({"a-1", 1, 0}, "x");
  book.Append({"a-1", 1, 1}, "y");
  book.Append({"b-2", 1, 0}, "z");
  const v1::SendLogRequest first = book.Unsent();
  ASSERT_EQ(first.parts_size(), 2);
  EXPECT_EQ(first.parts(1).text(), "y");
  const v1::SendLogRequest second = book.Unsent();  // the first was not taken
  ASSERT_EQ(second.parts_size(), 1);
  EXPECT_EQ(second.parts(0).job(), "b-2");
  book.MarkSent(second);
  book.MarkSent(first);
  EXPECT_EQ(book.Unsent().parts_size(), 0);
}

TEST_F(Books, MessagesAreBounded) {
  for (int rank = 0; rank < 40; ++rank) book.Append({"a-1", 1, rank}, std::string(100'000, 'x'));
  size_t bytes = 0;
  const v1::SendLogRequest request = book.Unsent();
  for (const v1::LogPart& part : request.parts()) {
    EXPECT_LE(part.text().size(), 64u << 10);
    bytes += part.text().size();
  }
  EXPECT_LE(bytes, 1u << 20);
  EXPECT_GT(bytes, 1u << 19);
}

TEST_F(Books, AClosedLogIsKeptUntilItIsSent) {
  book.Append({"a-1", 1, 0}, "last words");
  book.Close({"a-1", 1, 0});
  EXPECT_EQ(book.Tail({"a-1", 1, 0}), "last words");
  book.MarkSent(book.Unsent());
  EXPECT_EQ(book.Tail({"a-1", 1, 0}), "");
  EXPECT_EQ(Bytes(folder_ + "/0"), "last words");
}

}  // namespace
}  // namespace filigree::agent
