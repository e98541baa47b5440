#include "proto/contract/ids.h"

#include <gtest/gtest.h>

#include <string>

namespace filigree::contract {
namespace {

TEST(Ids, TakesTheSixtyFiveCharactersAndNoOther) {
  int taken = 0;
  for (int c = 0; c < 256; ++c) taken += IsId(std::string(1, static_cast<char>(c))) ? 1 : 0;
  EXPECT_EQ(taken, 26 + 26 + 10 + 3);
  EXPECT_TRUE(IsId("A-z_0.9"));
  EXPECT_FALSE(IsId("a/b"));
  EXPECT_FALSE(IsId("a b"));
  EXPECT_FALSE(IsId(std::string("a\0b", 3)));
}

TEST(Ids, HasOneToSixtyFourBytes) {
  EXPECT_FALSE(IsId(""));
  EXPECT_TRUE(IsId(std::string(64, 'x')));
  EXPECT_FALSE(IsId(std::string(65, 'x')));
}

TEST(Ids, ARefusalSaysWhatWasWrongAndWhatIsTaken) {
  const absl::Status status = CheckId("worker name", "evil\n\x1b[31m");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "worker name: \"evil??[31m\" is no name; write 1 to 64 of A-Z a-z 0-9 . _ -");
  EXPECT_TRUE(CheckId("worker name", "node-7").ok());
}

TEST(Ids, TheLongestNameLeavesRoomForTheNumberOfTheJob) {
  EXPECT_TRUE(IsId(JobId(std::string(kMaxJobNameBytes, 'j'), 999'999'999'999'999)));
  EXPECT_EQ(JobId("night", 7), "night-7");
}

TEST(Ids, DigestsAreSmallHexadecimal) {
  EXPECT_TRUE(CheckDigest("digest", "0123456789abcdef").ok());
  EXPECT_TRUE(CheckDigest("digest", std::string(64, 'f')).ok());
  EXPECT_FALSE(CheckDigest("digest", "0123456789abcde").ok());
  EXPECT_FALSE(CheckDigest("digest", std::string(65, 'f')).ok());
  EXPECT_FALSE(CheckDigest("digest", "0123456789ABCDEF").ok());
}

TEST(Ids, LongTextIsCutInMessages) { EXPECT_EQ(Shown(std::string(1000, 'a')), '"' + std::string(80, 'a') + "...\""); }

}  // namespace
}  // namespace filigree::contract
