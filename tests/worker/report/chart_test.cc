#include "worker/report/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

namespace filigree::report {
namespace {

Chart Line() {
  Chart chart;
  chart.id = "c";
  chart.title = "T <i>";
  chart.about = "A & b";
  chart.series = {{"one & <two>", Look::kLine, 0, {{0, 1}, {50, 3}, {100, 2}}}};
  return chart;
}

std::string Between(const std::string& text, const std::string& open, const std::string& close) {
  const size_t begin = text.find(open);
  EXPECT_NE(begin, std::string::npos) << open;
  if (begin == std::string::npos) return "";
  return text.substr(begin + open.size(), text.find(close, begin + open.size()) - begin - open.size());
}

TEST(Chart, DrawsWhereTheDataSaysTheValuesAre) {
  const std::string html = Render(Line());
  const auto data = nlohmann::json::parse(Between(html, "class=\"data\">", "</script>"));
  EXPECT_EQ(data["curves"][0]["name"], "one & <two>");
  EXPECT_EQ(data["curves"][0]["points"], nlohmann::json::parse("[[0,1],[50,3],[100,2]]"));
  EXPECT_EQ(data["low"], 0);
  EXPECT_EQ(data["high"], 100);
  double x[3], y[3];
  const std::string path = Between(html.substr(html.find("class=\"plot\"")), " d=\"", "\"");
  ASSERT_EQ(std::sscanf(path.c_str(), "M%lf %lfL%lf %lfL%lf %lf", &x[0], &y[0], &x[1], &y[1], &x[2], &y[2]), 6) << path;
  const double left = data["left"], right = data["right"], top = data["top"], bottom = data["bottom"];
  EXPECT_NEAR(x[0], left, 0.06);
  EXPECT_NEAR(x[1], (left + right) / 2, 0.06);
  EXPECT_NEAR(x[2], right, 0.06);
  EXPECT_NEAR((y[0] - y[1]) / 2, y[0] - y[2], 0.11);  // 1 to 3 is twice as far as 1 to 2
  EXPECT_GT(y[1], top);
  EXPECT_LT(y[0], bottom);
}

TEST(Chart, TheAxisEndsAtTheMostThatIsPossible) {
  Chart chart = Line();
  chart.scale = Scale::kLinear;
  chart.series[0].points = {{0, 100}, {50, 100}};
  EXPECT_NE(Render(chart).find(">105<"), std::string::npos);
  chart.most = 100;
  const std::string html = Render(chart);
  EXPECT_EQ(html.find(">105<"), std::string::npos);
  EXPECT_NE(html.find(">100<"), std::string::npos);
}

TEST(Chart, EscapesEveryText) {
  Chart chart = Line();
  chart.y_unit = "<u>";
  chart.levels = {{"<level>", 2}};
  chart.marks = {{"<mark>", 20}};
  const std::string html = Render(chart);
  for (const char* raw : {"<i>", "<two>", "<u>", "<level>", "<mark>"})
    EXPECT_EQ(html.find(raw), std::string::npos) << raw;
  for (const char* kept : {"T &lt;i&gt;", "A &amp; b", "&lt;level&gt; 2", "&lt;mark&gt;", "one &amp; &lt;two&gt;"})
    EXPECT_NE(html.find(kept), std::string::npos) << kept;
}

TEST(Chart, HasATableForThoseWhoDoNotSeeIt) {
  const std::string html = Render(Line());
  EXPECT_NE(
      html.find("<td>1 <small>at 0</small></td><td>2 <small>at 100</small></td><td>1 <small>at 0</small></td><td>3 "
                "<small>at 50</small></td>"),
      std::string::npos);
  EXPECT_NE(html.find("role=\"img\""), std::string::npos);
  EXPECT_NE(html.find("aria-labelledby=\"c-title\"><title id=\"c-title\">"), std::string::npos);
}

TEST(Chart, NothingToDrawIsSaidInWords) {
  Chart chart = Line();
  chart.series[0].points = {{0, std::nan("")}, {1, INFINITY}};
  EXPECT_NE(Render(chart).find("Nothing in the log yet"), std::string::npos);
  chart.series.clear();
  chart.levels = {{"a", 1}};
  EXPECT_NE(Render(chart).find("Nothing in the log yet"), std::string::npos);
  chart = Line();
  chart.scale = Scale::kLog;
  chart.series[0].points = {{0, 0}, {1, -1}};
  EXPECT_NE(Render(chart).find("Nothing in the log yet"), std::string::npos);
}

TEST(Chart, GapsAndLonePointsAreDrawn) {
  Chart chart = Line();
  chart.series[0].points = {{0, 1}, {1, 2}, {2, std::nan("")}, {3, 2}, {4, 1}};
  std::string html = Render(chart);
  const std::string path = Between(html.substr(html.find("class=\"plot\"")), " d=\"", "\"");
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2) << path;
  chart.series[0].points = {{7, 1}};
  EXPECT_NE(Render(chart).find("<circle"), std::string::npos);
}

// No coordinate of any chart is NaN or infinite, whatever the values.
TEST(Chart, ExtremeValuesGiveFiniteCoordinates) {
  const double big = 1.7e308, small = 4e-324;
  for (const Scale scale : {Scale::kLinear, Scale::kLog, Scale::kDensity, Scale::kAuto})
    for (const auto& [a, b] : {std::pair{0.0, 0.0}, {small, big}, {-big, big}, {1.0, 1.0}, {0.0, big}, {-1.0, small}}) {
      Chart chart = Line();
      chart.scale = scale;
      chart.series[0].points = {{0, a}, {1, b}};
      chart.levels = {{"n", std::nan("")}, {"a", a}, {"b", b}};
      const std::string html = Render(chart);
      EXPECT_FALSE(std::regex_search(html, std::regex("[ \"M L](-?nan|-?inf)"))) << a << " " << b << "\n" << html;
    }
}

TEST(Chart, LevelsThatLieCloseDoNotOverlap) {
  Chart chart = Line();
  for (int i = 0; i < 6; ++i) chart.levels.push_back({"level", 2 + 0.001 * i});
  const std::string html = Render(chart);
  std::vector<double> ys;
  const std::regex label("class=\"label\" x=\"[0-9.]+\" y=\"([0-9.]+)\"");
  for (std::sregex_iterator m(html.begin(), html.end(), label), end; m != end; ++m) ys.push_back(std::stod((*m)[1]));
  ASSERT_EQ(ys.size(), 6U);
  for (size_t i = 1; i < ys.size(); ++i) EXPECT_GE(ys[i] - ys[i - 1], 12);
}

}  // namespace
}  // namespace filigree::report
