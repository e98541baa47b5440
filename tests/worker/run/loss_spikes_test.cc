#include "worker/run/loss_spikes.h"

#include <gtest/gtest.h>

#include <cmath>

namespace filigree::train {
namespace {

TEST(LossSpikes, SixteenLossesComeBeforeTheFirstJump) {
  LossSpikes spikes;
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(std::isinf(spikes.MostUsual())) << i;
    spikes.Take(3);
  }
  EXPECT_EQ(spikes.MostUsual(), 4);
}

TEST(LossSpikes, TheLargestOfTheLastSixteenCounts) {
  LossSpikes spikes;
  for (int i = 0; i < 100; ++i) spikes.Take(10 - 0.05 * i);  // falls
  EXPECT_DOUBLE_EQ(spikes.MostUsual(), 10 - 0.05 * 84 + 1);
  spikes.Take(30);  // a jump that was the data's: what comes near it is none any more
  EXPECT_EQ(spikes.MostUsual(), 31);
  for (int i = 0; i < 16; ++i) spikes.Take(5);
  EXPECT_EQ(spikes.MostUsual(), 6);
}

TEST(LossSpikes, ItSaysWhoseItWas) {
  EXPECT_NE(LossSpikes::Verdict(7, 30, 30).find("step 7: the loss jumped to 30.0000"), std::string::npos);
  EXPECT_NE(LossSpikes::Verdict(7, 30, 3).find("a machine miscalculated"), std::string::npos);
}

}  // namespace
}  // namespace filigree::train
