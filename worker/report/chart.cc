#include "worker/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/report/html.h"

namespace filigree::report {
namespace {

constexpr size_t kDrawnBuckets = 240, kShownPoints = 240, kMostDots = 60;

// Where things are, in units of the view box.
struct Frame {
  double width, height, left, right, top, bottom;
  Axis x, y;

  double X(double value) const { return left + x.Place(value) * (right - left); }
  double Y(double value) const { return bottom - y.Place(value) * (bottom - top); }
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void Add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// On a logarithmic axis only what is above 0 counts. Differences of what is drawn must not overflow.
bool Drawable(double y, Scale scale) {
  return std::abs(y) < 1e300 && (y > 0 || (scale != Scale::kLog && scale != Scale::kDensity));
}

int XTicks(double width) { return width > 800 ? 10 : 5; }

Frame MakeFrame(const Chart& chart, const Range& x, const Range& y) {
  Frame frame{};
  frame.width = chart.wide ? 1080 : 530;
  frame.height = chart.wide ? 380 : 270;
  frame.left = 56;
  frame.right = frame.width - (chart.levels.empty() ? 14 : 120);
  frame.top = 24;  // the unit stands above the plot
  frame.bottom = frame.height - 34;
  frame.x = {Scale::kLinear, x.low, x.high > x.low ? x.high : x.low + 1};
  // A curve that ends at step 599 gets its 600.
  const double room = 0.01 * (frame.x.high - frame.x.low);
  const Axis longer = {Scale::kLinear, frame.x.low, frame.x.high + room};
  if (const std::vector<Tick> ticks = Ticks(longer, XTicks(frame.width)); !ticks.empty())
    frame.x.high = std::max(frame.x.high, ticks.back().value);
  frame.y = FitAxis(chart.scale, y.low, y.high, chart.zero);
  if (y.high <= chart.most) frame.y.high = std::min(frame.y.high, chart.most);
  return frame;
}

std::string Grid(const Frame& f, const std::string& unit) {
  std::string out;
  for (const Tick& tick : Ticks(f.y, f.height > 300 ? 7 : 5))
    out += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"tick\" "
        "text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        f.left, f.right, f.Y(tick.value), f.Y(tick.value), f.left - 7, f.Y(tick.value) + 4, Escape(tick.label));
  for (const Tick& tick : Ticks(f.x, XTicks(f.width)))
    out += fmt::format(
        "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/><text class=\"tick\" "
        "text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3:.1f}\">{4}</text>",
        f.X(tick.value), f.bottom, f.bottom + 4, f.bottom + 17, Escape(tick.label));
  out += fmt::format("<line class=\"axis\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", f.left, f.right,
                     f.bottom, f.bottom);
  out += fmt::format("<text class=\"unit\" text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">step</text>", f.right,
                     f.bottom + 30);
  return out + fmt::format("<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text>", 4, 12, Escape(unit));
}

std::string Path(const Frame& f, const std::vector<Point>& points) {
  std::string out;
  bool pen_down = false;
  for (const Point& p : points) {
    const bool drawn = Drawable(p.y, f.y.scale);
    if (drawn) out += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", f.X(p.x), f.Y(p.y));
    pen_down = drawn;
  }
  return out;
}

std::string Dot(int colour, double x, double y) {
  return fmt::format("<circle class=\"dot c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.2\"/>", colour, x, y);
}

// A path in the look of the series; none where it has dots alone.
std::string Stroke(const Series& series, const std::string& path) {
  if (series.look == Look::kPoints) return {};
  const char* look = series.look == Look::kFaint ? " faint" : series.look == Look::kDashed ? " dashed" : "";
  return fmt::format("<path class=\"line c{}{}\" d=\"{}\"/>", series.colour, look, path);
}

std::string Curve(const Frame& f, const Series& series) {
  const std::vector<Point> points = Thin(series.points, kDrawnBuckets);
  std::string out = Stroke(series, Path(f, points));
  // Many dots hide their line, and a lone point has none.
  const bool dots =
      series.look == Look::kPoints || points.size() == 1 || (series.look == Look::kDots && points.size() <= kMostDots);
  for (const Point& p : points)
    if (dots && Drawable(p.y, f.y.scale)) out += Dot(series.colour, f.X(p.x), f.Y(p.y));
  return out;
}

// Labels at the right, pushed apart where lines lie close.
std::string Levels(const Frame& f, std::vector<Level> levels) {
  constexpr double kLine = 15;
  std::erase_if(levels, [&](const Level& l) { return !Drawable(l.value, f.y.scale); });
  std::sort(levels.begin(), levels.end(), [](const Level& a, const Level& b) { return a.value > b.value; });
  double free = f.top;
  std::string out;
  for (size_t i = 0; i < levels.size(); ++i) {
    const double y = f.Y(levels[i].value);
    const double below = static_cast<double>(levels.size() - 1 - i) * kLine;
    const double text = std::clamp(y + 4, free + 4, std::max(f.bottom - below, free + 4));
    free = text + kLine - 4;
    out += fmt::format(
        "<line class=\"level\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"label\" "
        "x=\"{:.1f}\" "
        "y=\"{:.1f}\">{} {}</text>",
        f.left, f.right, y, y, f.right + 6, text, Escape(levels[i].name), Number(levels[i].value));
  }
  return out;
}

std::string Marks(const Frame& f, std::vector<Mark> marks) {
  constexpr size_t kMost = 40;
  std::string out;
  std::sort(marks.begin(), marks.end(), [](const Mark& a, const Mark& b) { return a.x < b.x; });
  double labelled = -1e9;
  for (size_t i = 0; i < std::min(marks.size(), kMost); ++i) {
    const Mark& mark = marks[i];
    if (mark.x < f.x.low || mark.x > f.x.high) continue;
    const double x = f.X(mark.x), width = 8 + 6.5 * static_cast<double>(mark.name.size());
    out += fmt::format("<line class=\"mark\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"/>", x, f.top,
                       f.bottom);
    const bool left_of = x + width > f.right;
    if ((left_of ? x - width : x) < labelled) continue;
    labelled = left_of ? x : x + width;
    out += fmt::format("<text class=\"marklabel\" text-anchor=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                       left_of ? "end" : "start", x + (left_of ? -4 : 4), f.top + 9, Escape(mark.name));
  }
  return out;
}

std::string Legend(const Chart& chart) {
  std::string out = "<ul class=\"legend\">";
  for (const Series& s : chart.series) {
    if (s.points.empty()) continue;
    const bool dots = s.look == Look::kDots || s.look == Look::kPoints;
    out += fmt::format("<li><svg width=\"26\" height=\"12\" aria-hidden=\"true\">{}{}</svg>{}</li>",
                       Stroke(s, "M1 6L25 6"), dots ? Dot(s.colour, 13, 6) : "", Escape(s.name));
  }
  return out + "</ul>";
}

// First, last, lowest and highest of each series, for those who do not see the curves.
std::string Table(const Chart& chart) {
  std::string out =
      "<details class=\"figures\"><summary>Figures</summary><table><thead><tr><th>curve</th><th>first</th><th>last</th>"
      "<th>lowest</th><th>highest</th></tr></thead><tbody>";
  for (const Series& s : chart.series) {
    std::vector<Point> finite;
    std::copy_if(s.points.begin(), s.points.end(), std::back_inserter(finite),
                 [](const Point& p) { return std::isfinite(p.y); });
    if (finite.empty()) continue;
    const auto [low, high] =
        std::minmax_element(finite.begin(), finite.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
    const auto cell = [](const Point& p) {
      return fmt::format("<td>{} <small>at {}</small></td>", Number(p.y), Number(p.x));
    };
    out += fmt::format("<tr><th scope=\"row\">{}</th>{}{}{}{}</tr>", Escape(s.name), cell(finite.front()),
                       cell(finite.back()), cell(*low), cell(*high));
  }
  for (const Level& level : chart.levels)
    out += fmt::format("<tr><th scope=\"row\">{}</th><td colspan=\"4\">{}</td></tr>", Escape(level.name),
                       Number(level.value));
  return out + "</tbody></table></details>";
}

// What the script needs: where the plot is, and the curves.
std::string Data(const Chart& chart, const Frame& f) {
  std::string curves;
  for (const Series& s : chart.series) {
    if (s.points.empty()) continue;
    std::string points;
    for (const Point& p : Average(s.points, kShownPoints))
      points += fmt::format("{}[{:.8g},{:.6g}]", points.empty() ? "" : ",", p.x, p.y);
    curves += fmt::format("{}{{\"name\":{},\"points\":[{}]}}", curves.empty() ? "" : ",", JsonText(s.name), points);
  }
  return fmt::format(
      "<script type=\"application/json\" "
      "class=\"data\">{{\"left\":{},\"right\":{},\"top\":{},\"bottom\":{},\"low\":{:.8g},"
      "\"high\":{:.8g},\"curves\":[{}]}}</script>",
      f.left, f.right, f.top, f.bottom, f.x.low, f.x.high, curves);
}

}  // namespace

std::string Render(const Chart& chart) {
  Range x, y;
  for (const Series& s : chart.series)
    for (const Point& p : s.points)
      if (Drawable(p.y, chart.scale)) {
        x.Add(p.x);
        y.Add(p.y);
      }
  const std::string open =
      fmt::format("<figure class=\"chart{}\" id=\"{}\"><figcaption><h3>{}</h3><p>{}</p></figcaption>",
                  chart.wide ? " wide" : "", chart.id, Escape(chart.title), Escape(chart.about));
  if (x.empty()) return open + "<p class=\"none\">Nothing in the log yet.</p></figure>";
  for (const Level& level : chart.levels)
    if (Drawable(level.value, chart.scale)) y.Add(level.value);
  const Frame f = MakeFrame(chart, x, y);
  std::string svg = fmt::format(
      "<svg class=\"plot\" role=\"img\" tabindex=\"0\" viewBox=\"0 0 {} {}\" aria-labelledby=\"{}-title\"><title "
      "id=\"{}-title\">{}: {}</title>",
      f.width, f.height, chart.id, chart.id, Escape(chart.title), Escape(chart.about));
  svg += Grid(f, chart.y_unit) + Levels(f, chart.levels);
  for (const Series& s : chart.series) svg += Curve(f, s);
  svg += Marks(f, chart.marks);
  svg += "<line class=\"cursor\" hidden=\"\"/></svg>";
  return open + Legend(chart) + "<div class=\"scroll\">" + svg + "</div>" + Table(chart) + Data(chart, f) + "</figure>";
}

}  // namespace filigree::report
