#ifndef FILIGREE_WORKER_REPORT_CHART_H_
#define FILIGREE_WORKER_REPORT_CHART_H_

#include <limits>
#include <string>
#include <vector>

#include "worker/report/axis.h"
#include "worker/report/series.h"

// A chart of curves over steps as one <figure>: legend, SVG, the figures behind it as a small table, and as JSON for
// the page's script, which shows values under the pointer. Colours come from the page's style sheet: series i has class
// "c<i>".

namespace filigree::report {

enum class Look {
  kLine,
  kFaint,   // a thin, pale line: noise behind a mean
  kDots,    // a line with a dot at each point
  kPoints,  // dots alone, for few values of a curve whose course between them is another's
  kDashed
};

struct Series {
  std::string name;
  Look look = Look::kLine;
  int colour = 0;
  std::vector<Point> points;
};

// A horizontal line with a label.
struct Level {
  std::string name;
  double value;
};

// A vertical line with a label: an event.
struct Mark {
  std::string name;
  double x;
};

struct Chart {
  std::string id;  // unique on the page: letters only
  std::string title;
  std::string about;  // one sentence: what is shown
  std::string y_unit;
  Scale scale = Scale::kAuto;
  bool zero = false;                                      // a linear y axis begins at 0
  double most = std::numeric_limits<double>::infinity();  // no value can be above it, so the axis does not go there
  bool wide = false;                                      // over both columns
  std::vector<Series> series;
  std::vector<Level> levels;
  std::vector<Mark> marks;
};

// A chart without a finite value says so in words.
std::string Render(const Chart& chart);

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_CHART_H_
