#include "worker/config/nearest.h"

#include <gtest/gtest.h>

#include "worker/config/keys.h"

namespace filigree::config {
namespace {

TEST(EditDistance, CountsEditsOfNames) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("steps", "step"), 1);
  EXPECT_EQ(EditDistance("lr", "rl"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("D-Model", "d_model"), 0);
  EXPECT_EQ(EditDistance(std::string(100'000, 'x'), "lr"), 64);
}

// Every key is found again after every single slip of a finger: a letter missing, doubled, wrong or swapped.
TEST(NearestKey, FindsEveryKeyAfterOneSlip) {
  for (const Key& key : Keys()) {
    EXPECT_EQ(NearestKey(key.name), key.name);
    for (size_t i = key.section().size() + 1; i < key.name.size(); ++i) {
      std::string slip = key.name;
      slip.insert(i, 1, 'x');
      EXPECT_EQ(NearestKey(slip), key.name) << slip;
      if (key.key().size() < 4) continue;  // of a short name too little is left
      slip = key.name;
      slip.erase(i, 1);
      EXPECT_TRUE(NearestKey(slip) == key.name || EditDistance(slip, NearestKey(slip)) == 1) << slip;  // beta1, beta2
      if (i + 1 == key.name.size()) continue;
      slip = key.name;
      std::swap(slip[i], slip[i + 1]);
      EXPECT_EQ(NearestKey(slip), key.name) << slip;
    }
  }
}

TEST(NearestKey, LooksBeyondTheSection) {
  EXPECT_EQ(NearestKey("train.steps"), "run.steps");
  EXPECT_EQ(NearestKey("lr"), "optim.lr");
  EXPECT_EQ(NearestKey("optim.min_alive"), "sparsity.min_alive");
  EXPECT_EQ(NearestKey("model.density"), "sparsity.density");
}

TEST(Quoted, IsPrintableAndShort) {
  EXPECT_EQ(Quoted("a b"), "'a b'");
  EXPECT_EQ(Quoted("\x1b[31m\n"), "'\\x1b[31m\\x0a'");
  EXPECT_EQ(Quoted(std::string(1000, 'q')), "'" + std::string(80, 'q') + "...'");
}

}  // namespace
}  // namespace filigree::config
