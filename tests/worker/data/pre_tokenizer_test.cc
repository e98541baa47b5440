#include "worker/data/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/worker/data/random_text.h"

namespace filigree::data {
namespace {

using Parts = std::vector<std::string_view>;

Parts PreTokens(std::string_view text) {
  Parts parts;
  PreTokenizer().ForEach(text, [&](std::string_view part) { parts.push_back(part); });
  return parts;
}

TEST(PreTokenizerTest, CutsCodeAsSpecified) {
  EXPECT_EQ(PreTokens("def f(x):\n    return x.add"),
            (Parts{"def", " f", "(x", "):\n", "   ", " return", " x", ".add"}));
  EXPECT_EQ(PreTokens("x=None 12345 'r"), (Parts{"x", "=None", " ", "123", "45", " '", "r"}));
  EXPECT_EQ(PreTokens("a  \n\n\t b"), (Parts{"a", "  \n\n", "\t", " b"}));
  EXPECT_EQ(PreTokens("# http://x\n/\ny"), (Parts{"#", " http", "://", "x", "\n", "/\n", "y"}));
  EXPECT_EQ(PreTokens("end  "), (Parts{"end", "  "}));
  EXPECT_EQ(PreTokens(""), Parts{});
}

// Every sequence of up to four characters over one of each class and those the pattern names.
TEST(PreTokenizerTest, EqualsThePatternOnAllShortTexts) {
  const std::vector<std::string> alphabet = {" ", "\t", "\n", "\r", "/", ".", "a", "1", "\u00A0", "\u4E2D", "\u0301"};
  std::vector<std::string> texts = {""};
  for (int length = 1; length <= 5; ++length) {
    std::vector<std::string> longer;
    for (const std::string& text : texts) {
      for (const std::string& c : alphabet) longer.push_back(text + c);
    }
    texts = std::move(longer);
    // One long text would hide what happens at the end of a text; of the longer ones a sample, as PCRE2 takes its time.
    for (size_t i = 0; i < texts.size(); i += length < 4 ? 1 : 37)
      ASSERT_EQ(PreTokens(texts[i]), ref::PreTokens(texts[i]));
  }
}

TEST(PreTokenizerTest, EqualsThePatternOnHostileText) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 300; ++round) {
    const std::string text = HostileText(rng, 1 + static_cast<int>(rng() % 2000));
    ASSERT_EQ(PreTokens(text), ref::PreTokens(text)) << "round " << round;
  }
}

TEST(PreTokenizerTest, CoversAnyBytes) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 200; ++round) {
    const std::string bytes = RandomBytes(rng, static_cast<int>(rng() % 500));
    std::string joined;
    for (const std::string_view part : PreTokens(bytes)) {
      ASSERT_FALSE(part.empty());
      joined += part;
    }
    ASSERT_EQ(joined, bytes);
  }
}

TEST(PreTokenizerTest, BytesThatAreNotUtf8ArePunctuation) {
  EXPECT_EQ(PreTokens("a\xFF\xFEz"), (Parts{"a", "\xFF\xFE", "z"}));
  EXPECT_EQ(PreTokens(" \xFF\n1"), (Parts{" \xFF\n", "1"}));
  EXPECT_EQ(PreTokens("\xE4\xB8"), (Parts{"\xE4\xB8"}));
}

}  // namespace
}  // namespace filigree::data
