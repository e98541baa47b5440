#include <gtest/gtest.h>

#include "tests/support/tiles.h"
#include "worker/config/load.h"

// Input that nobody writes in good faith ends in a message, never in a crash.

namespace filigree::config {
namespace {

void ExpectStatus(const std::string& text) {
  const auto settings = Parse(text, "hostile.toml");
  ASSERT_FALSE(settings.ok()) << text.substr(0, 200);
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(settings.status().message()).substr(0, 12), "hostile.toml");
  EXPECT_LT(settings.status().message().size(), 1000U);
}

std::string Repeat(const std::string& piece, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += piece;
  return out;
}

TEST(Parse, RefusesDeepNesting) {
  for (const int depth : {300, 4000, 100'000}) {
    ExpectStatus("x = " + std::string(depth, '['));
    ExpectStatus("x = " + std::string(depth, '[') + std::string(depth, ']'));
    ExpectStatus(Repeat("a.", depth) + "a = 1");
    ExpectStatus(std::string("[").append(Repeat("a.", depth)) + "a]\nb = 1");
    ExpectStatus(std::string("x = ").append(Repeat("{a=", depth)));
  }
}

TEST(Parse, RefusesWhatIsNotToml) {
  ExpectStatus(std::string("run\0.steps = 1", 14));
  ExpectStatus("[run\nsteps = 1");
  ExpectStatus("[run]\nsteps = ");
  ExpectStatus("[run]\nsteps = 1\nsteps = 2");
  ExpectStatus("[run]\nsteps = 1\n[run]\nseed = 2");
  ExpectStatus("[run]\nsteps = 99999999999999999999999");
  ExpectStatus("[run]\ndir = \"\xc0\xaf\"");
  ExpectStatus("[run]\ndir = \"\xed\xa0\x80\"");
  ExpectStatus(
      "\x7f"
      "ELF\x02\x01\x01");
  ExpectStatus("[run]\ndir = \"a\\u0000b\"");
  ExpectStatus(std::string(2 << 20, ' '));
  ExpectStatus("[run]\ndir = \"" + std::string(5000, 'x') + "\"");
  ExpectStatus(std::string(500'000, 'k') + " = 1");
  ExpectStatus("[sparsity]\ndensity = nan");
  ExpectStatus("[sparsity]\ndensity = inf");
  ExpectStatus("[sparsity]\ndensity = \"1/0\"");
  ExpectStatus("[sparsity]\ndensity = \"1/2/3\"");
  ExpectStatus("[sparsity]\ndensity = \"\"");
  ExpectStatus("[sparsity]\ndensity = \"0x1p-3\"");
}

TEST(Parse, TakesWindowsLinesAndAByteOrderMark) {
  const auto settings = Parse("\xef\xbb\xbf[run]\r\nsteps = 5\r\n", "w.toml");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->run.steps, 5);
}

// Mutations of a valid file: each parses to valid settings or says what is wrong.
TEST(Parse, SurvivesMutations) {
  constexpr uint64_t kSeed = 99;
  SCOPED_TRACE(kSeed);
  testing_support::Rng rng(kSeed);
  const std::string whole = ToToml(*Parse("", ""));
  int taken = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (uint64_t n = rng.Below(3) + 1; n > 0; --n) {
      const size_t at = rng.Below(text.size());
      switch (rng.Below(3)) {
        case 0:
          text[at] = static_cast<char>(rng.Below(256));
          break;
        case 1:
          text.erase(at, rng.Below(20));
          break;
        default:
          text.insert(at, text.substr(rng.Below(text.size()), rng.Below(30)));
      }
    }
    const auto settings = Parse(text, "mutant.toml");
    if (settings.ok()) {
      ++taken;
      EXPECT_TRUE(Validate(*settings).ok());
    } else {
      EXPECT_EQ(std::string(settings.status().message()).substr(0, 11), "mutant.toml") << settings.status();
    }
  }
  EXPECT_GT(taken, 20);
  EXPECT_LT(taken, 1000);
}

}  // namespace
}  // namespace filigree::config
