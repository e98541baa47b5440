#ifndef FILIGREE_WORKER_REPORT_AXIS_H_
#define FILIGREE_WORKER_REPORT_AXIS_H_

#include <string>
#include <vector>

// Scales of charts and the values that are written beside them.

namespace filigree::report {

enum class Scale {
  kLinear,
  kLog,      // decades
  kDensity,  // powers of two, written as 1/64
  kAuto      // kLog where all values are positive and span a factor of 30, else kLinear
};

struct Axis {
  Scale scale = Scale::kLinear;  // never kAuto
  double low = 0, high = 1;      // low < high; above 0 on a logarithmic scale

  // 0 at low, 1 at high; what lies outside is put at the ends. NaN stays NaN.
  double Place(double value) const;
};

struct Tick {
  double value;
  std::string label;
};

// An axis around finite values low <= high, with a little room and never empty. `zero`: a linear axis begins at 0.
Axis FitAxis(Scale scale, double low, double high, bool zero);

// About `wanted` round values inside the axis, in ascending order, each with a label that tells it from the others.
std::vector<Tick> Ticks(const Axis& axis, int wanted);

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_AXIS_H_
