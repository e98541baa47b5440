#include "worker/config/auto_policy.h"

#include <gtest/gtest.h>

#include "worker/config/load.h"

// What "auto" means in the section `sparsity`, the values in which it ends, and what it leaves alone.

namespace filigree::config {
namespace {

SparsitySettings Chosen(const std::vector<std::string>& overrides) {
  const auto settings = Parse("", "", overrides);
  EXPECT_TRUE(settings.ok()) << settings.status();
  return settings.ok() ? settings->sparsity : SparsitySettings();
}

struct Expected {
  const char* density;
  Regime regime;
  double candidates, start, anneal_end;  // start: over the density; 0: dense
};

TEST(AutoPolicy, FollowsTheDensity) {
  for (const Expected& e : std::vector<Expected>{{"1", Regime::kExact, 4, 0, 0.5},
                                                 {"0.0626", Regime::kExact, 4, 0, 0.5},
                                                 {"1/16", Regime::kActive, 1.25, 1, 0.6},
                                                 {"1/32", Regime::kActive, 1.25, 1, 0.6},
                                                 {"0.0312", Regime::kActive, 2, 2, 0.6},
                                                 {"1/128", Regime::kActive, 2, 2, 0.6},
                                                 {"0.0078", Regime::kActive, 4, 4, 0.6},
                                                 {"1/1000", Regime::kActive, 4, 4, 0.6}}) {
    SCOPED_TRACE(e.density);
    const SparsitySettings s =
        Chosen({std::string("--sparsity.density=") + e.density, "--sparsity.embedding_density=0.125"});
    EXPECT_EQ(s.regime, e.regime);
    EXPECT_EQ(s.candidates, e.candidates);
    EXPECT_EQ(s.density_start, e.start == 0 ? 1 : e.start * s.density);
    EXPECT_EQ(s.embedding_density_start, e.start == 0 ? 1 : e.start * 0.125);
    EXPECT_EQ(s.anneal_end, e.anneal_end);
  }
}

TEST(AutoPolicy, EmbeddingsStartAtMostWhole) {
  const SparsitySettings s = Chosen({"--sparsity.density=1/256", "--sparsity.embedding_density=0.5"});
  EXPECT_EQ(s.embedding_density_start, 1);
  EXPECT_EQ(s.density_start, 4.0 / 256);
}

TEST(AutoPolicy, ARegimeThatIsAskedForBringsItsOwnSchedule) {
  SparsitySettings s = Chosen({"--sparsity.density=1/256", "--sparsity.regime=exact"});
  EXPECT_EQ(s.density_start, 1);
  EXPECT_EQ(s.embedding_density_start, 1);
  EXPECT_EQ(s.anneal_end, 0.5);
  s = Chosen({"--sparsity.density=1/8", "--sparsity.regime=active"});
  EXPECT_EQ(s.candidates, 4);
  EXPECT_EQ(s.density_start, 0.5);
  s = Chosen({"--sparsity.density=1/2", "--sparsity.regime=active"});
  EXPECT_EQ(s.density_start, 1);
}

// All but the largest of the other model's weights would be gone before the first step.
TEST(AutoPolicy, ARunThatBeginsWithAnotherModelsWeightsStartsDense) {
  SparsitySettings s = Chosen({"--sparsity.density=1/64", "--init.from=imports/dense"});
  EXPECT_EQ(s.regime, Regime::kExact);
  EXPECT_EQ(s.density_start, 1);
  EXPECT_EQ(s.embedding_density_start, 1);
  s = Chosen({"--sparsity.density=1/64", "--init.from=imports/dense", "--sparsity.regime=active"});
  EXPECT_EQ(s.density_start, 1);
  s = Chosen({"--sparsity.density=1/64", "--init.from=imports/sparse", "--sparsity.density_start=1/64",
              "--sparsity.embedding_density_start=1/4"});
  EXPECT_EQ(s.regime, Regime::kActive);
  EXPECT_EQ(s.density_start, 1.0 / 64);
}

TEST(AutoPolicy, WhatIsGivenStays) {
  const SparsitySettings s =
      Chosen({"--sparsity.density=1/64", "--sparsity.candidates=3", "--sparsity.density_start=1/8",
              "--sparsity.embedding_density_start=1/2", "--sparsity.anneal_end=0.3"});
  EXPECT_EQ(s.regime, Regime::kActive);
  EXPECT_EQ(s.candidates, 3);
  EXPECT_EQ(s.density_start, 0.125);
  EXPECT_EQ(s.embedding_density_start, 0.5);
  EXPECT_EQ(s.anneal_end, 0.3);
}

TEST(AutoPolicy, ARunWithoutAScheduleIsActiveWhereItsCandidatesAreNotEverything) {
  EXPECT_EQ(Chosen({"--sparsity.anneal_shape=constant", "--sparsity.density=1/8"}).regime, Regime::kActive);
  EXPECT_EQ(Chosen({"--sparsity.anneal_shape=constant", "--sparsity.density=1/2"}).regime, Regime::kExact);
}

TEST(AutoPolicy, TheWordIsTakenAsAnyOther) {
  const auto written =
      Parse("[sparsity]\ndensity_start = \"auto\"\ncandidates = \"auto\"\n", "", {"--sparsity.anneal_end=auto"});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(ToToml(*written), ToToml(*Parse("", "")));
  const auto refused = Parse("", "", {"--sparsity.density=auto"});
  EXPECT_EQ(
      refused.status().message(),
      "--sparsity.density=auto: sparsity.density is 'auto', expected a number above 0 and at most 1, or a fraction "
      "as in \"1/64\"; the default is 0.0625");
  const auto zero = Parse("[sparsity]\ncandidates = 0\n", "run.toml");
  EXPECT_EQ(
      zero.status().message(),
      "run.toml:2:14: sparsity.candidates is 0, expected a number of at least 1 and at most 65536, or a fraction as "
      "in \"1/64\", or \"auto\"; the default is \"auto\"");
}

// A resumed run whose file leaves everything open keeps what it began with, whichever program chose it and also where
// the regime is changed by hand.
TEST(AutoPolicy, ARunThatGoesOnKeepsWhatItHas) {
  const auto stored = Parse("", "", {"--sparsity.density=1/64", "--sparsity.regime=exact", "--sparsity.candidates=3"});
  ASSERT_TRUE(stored.ok());
  const auto same = Parse("", "", {"--sparsity.density=1/64"}, &*stored);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(ToToml(*same), ToToml(*stored));
  const auto active = Parse("", "", {"--sparsity.density=1/64", "--sparsity.regime=active"}, &*stored);
  ASSERT_TRUE(active.ok());
  EXPECT_EQ(active->sparsity.regime, Regime::kActive);
  EXPECT_EQ(active->sparsity.candidates, 3);
  EXPECT_TRUE(CheckResume(*stored, *active).ok());
  const auto changed = Parse("", "", {"--sparsity.density=1/64", "--sparsity.density_start=1/4"}, &*stored);
  ASSERT_TRUE(changed.ok());
  EXPECT_FALSE(CheckResume(*stored, *changed).ok());
}

// Rules are for what the run will have: the policy's own end of the anneal would be refused here.
TEST(AutoPolicy, WhatIsKeptIsWhatRulesLookAt) {
  const auto stored = Parse("", "", {"--sparsity.anneal_start=0.55"});
  ASSERT_TRUE(stored.ok()) << stored.status();
  const std::vector<std::string> exact = {"--sparsity.anneal_start=0.55", "--sparsity.regime=exact"};
  EXPECT_FALSE(Parse("", "", exact).ok());
  const auto wanted = Parse("", "", exact, &*stored);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(wanted->sparsity.anneal_end, 0.6);
}

TEST(RunDirOf, NeedsNoSettingsThatAreValid) {
  const auto dir = RunDirOf("", {"--sparsity.anneal_start=0.9", "--run.dir=runs/a"});
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_EQ(*dir, "runs/a");
  EXPECT_FALSE(RunDirOf("", {"--run.steps=none"}).ok());
  EXPECT_EQ(RunDirOf("nowhere.toml", {}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace filigree::config
