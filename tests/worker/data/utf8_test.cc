#include "worker/data/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/worker/data/random_text.h"
#include "worker/data/byte_alphabet.h"
#include "worker/data/char_classes.h"
#include "worker/data/pattern_match.h"

namespace filigree::data {
namespace {

constexpr size_t kValid = std::string_view::npos;

TEST(Utf8Test, RoundTripsEveryCodePoint) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, text);
    const CodePoint decoded = DecodeUtf8(text, 0);
    ASSERT_EQ(decoded.value, c);
    ASSERT_EQ(decoded.bytes, static_cast<int>(text.size()));
    ASSERT_EQ(FindInvalidUtf8(text), kValid) << c;
  }
}

TEST(Utf8Test, RefusesWhatRfc3629Forbids) {
  EXPECT_EQ(FindInvalidUtf8(""), kValid);
  EXPECT_EQ(FindInvalidUtf8("\x80"), 0) << "a continuation alone";
  EXPECT_EQ(FindInvalidUtf8("ab\xC0\x80"), 2) << "zero in two bytes";
  EXPECT_EQ(FindInvalidUtf8("\xE0\x80\xAF"), 0) << "overlong in three";
  EXPECT_EQ(FindInvalidUtf8("\xF0\x80\x80\xAF"), 0) << "overlong in four";
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0) << "a surrogate";
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0) << "above U+10FFFF";
  EXPECT_EQ(FindInvalidUtf8("\xF8\x88\x80\x80\x80"), 0) << "five bytes";
  EXPECT_EQ(FindInvalidUtf8("twelve bytes\xE4\xB8"), 12) << "cut short by the end";
  EXPECT_EQ(FindInvalidUtf8("caf\xE9 is Latin-1"), 3);
}

// A text of known length cut at every byte: valid exactly where a character ends.
TEST(Utf8Test, ACutIsValidOnlyBetweenCharacters) {
  std::string text;
  std::vector<bool> ends = {true};
  for (const uint32_t c : HostileCodePoints()) {
    AppendUtf8(c, text);
    ends.resize(text.size() + 1, false);
    ends.back() = true;
  }
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(FindInvalidUtf8(std::string_view(text).substr(0, cut)) == kValid, ends[cut]) << cut;
  }
}

TEST(CharClassesTest, AreThoseOfPcre2CodePointByCodePoint) {
  // Other patterns than the table is made with: a code point is what it is surrounded by any others.
  std::mt19937_64 rng(3);
  std::vector<uint32_t> points;
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c < 0xD800 || c >= 0xE000) points.push_back(c);
  }
  std::shuffle(points.begin(), points.end(), rng);
  std::string text;
  for (const uint32_t c : points) AppendUtf8(c, text);
  std::vector<int> seen(0x110000);
  const auto expect = [&](const char* pattern, CharClass type) {
    ForEachMatch(pattern, text, [&](size_t begin, size_t) {
      const uint32_t c = DecodeUtf8(text, begin).value;
      ++seen[c];
      ASSERT_EQ(CharClasses::Get().Of(c), type) << "U+" << std::hex << c;
    });
  };
  expect(R"([^\s\p{L}\p{N}])", CharClass::kOther);
  expect(R"(\p{L})", CharClass::kLetter);
  expect(R"(\p{N})", CharClass::kNumber);
  expect(R"([^\S\r\n])", CharClass::kSpace);
  expect(R"([\r\n])", CharClass::kNewline);
  for (const uint32_t c : points) ASSERT_EQ(seen[c], 1) << "U+" << std::hex << c;
  EXPECT_EQ(CharClasses::Get().Of(CodePoint::kInvalid), CharClass::kOther);
  EXPECT_EQ(CharClasses::Get().Of(0x110000), CharClass::kOther);
}

TEST(ByteAlphabetTest, IsGpt2s) {
  EXPECT_EQ(ToPrintable(std::string_view(" \n\t\0a", 5)), "ĠĊĉĀa");
  EXPECT_EQ(ToPrintable("\x7F\x80\xA0\xAD\xFF"), "ġĢłŃÿ");
  EXPECT_EQ(BytesInIdOrder()[0], '!');
  EXPECT_EQ(BytesInIdOrder()[187], 0xFF);
  EXPECT_EQ(BytesInIdOrder()[188], 0x00);
  EXPECT_EQ(BytesInIdOrder()[255], 0xAD);
}

TEST(ByteAlphabetTest, RoundTripsAndRefusesOthers) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
    EXPECT_EQ(BytesInIdOrder()[IdsOfBytes()[byte]], byte);
  }
  EXPECT_EQ(FromPrintable(ToPrintable(all)), all);
  EXPECT_FALSE(FromPrintable("a b").has_value()) << "a space is written as Ġ";
  EXPECT_FALSE(FromPrintable("\u0144").has_value()) << "one past the last";
  EXPECT_FALSE(FromPrintable("\xFF").has_value()) << "not UTF-8";
}

}  // namespace
}  // namespace filigree::data
