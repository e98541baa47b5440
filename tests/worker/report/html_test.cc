#include "worker/report/html.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace filigree::report {
namespace {

TEST(Escape, LeavesNoMarkup) {
  EXPECT_EQ(Escape("<script>alert(\"a\" & 'b')</script>"),
            "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;");
  EXPECT_EQ(Escape("\xff\x1b é\n"), "\xef\xbf\xbd\xef\xbf\xbd é\n");
}

TEST(JsonText, MayStandInsideAScript) {
  EXPECT_EQ(JsonText("a</script>\"\\\n\t&"), "\"a\\u003c/script\\u003e\\u0022\\u005c\\u000a\\u0009\\u0026\"");
  EXPECT_EQ(JsonText(std::string("\0", 1)), "\"\xef\xbf\xbd\"");
}

TEST(Number, HasFourDigits) {
  EXPECT_EQ(Number(3.21659), "3.217");
  EXPECT_EQ(Number(0.0512), "0.0512");
  EXPECT_EQ(Number(1.2345e-6), "1.23e-06");
  EXPECT_EQ(Number(0), "0");
  EXPECT_EQ(Number(244140), "244140");
  EXPECT_EQ(Number(1.5e9), "1.5e+09");
  EXPECT_EQ(Number(-2.5), "-2.5");
  EXPECT_EQ(Number(std::nan("")), "-");
  EXPECT_EQ(Number(INFINITY), "-");
}

TEST(ShortNumber, HasALetter) {
  EXPECT_EQ(ShortNumber(9941), "9.94k");
  EXPECT_EQ(ShortNumber(999), "999");
  EXPECT_EQ(ShortNumber(999.7), "1k");
  EXPECT_EQ(ShortNumber(2.46e6), "2.46M");
  EXPECT_EQ(ShortNumber(-3.2e10), "-32G");
  EXPECT_EQ(ShortNumber(std::nan("")), "-");
  EXPECT_EQ(ShortNumber(1e300).back(), 'P');
}

TEST(Count, IsGrouped) {
  EXPECT_EQ(Count(0), "0");
  EXPECT_EQ(Count(999), "999");
  EXPECT_EQ(Count(1234567), "1,234,567");
  EXPECT_EQ(Count(-1000), "-1,000");
  EXPECT_EQ(Count(-100), "-100");
  EXPECT_EQ(Count(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Density, IsAFractionWhereItIsOne) {
  EXPECT_EQ(Density(1), "1");
  EXPECT_EQ(Density(0.5), "1/2");
  EXPECT_EQ(Density(1.0 / 64), "1/64");
  EXPECT_EQ(Density(65535.0 / 64 / 65536), "1/64");  // k is rounded down
  EXPECT_EQ(Density(0.3), "0.3");
  EXPECT_EQ(Density(0), "0");
  EXPECT_EQ(Density(std::nan("")), "-");
  EXPECT_EQ(Percent(0.1234), "12.3%");
}

}  // namespace
}  // namespace filigree::report
