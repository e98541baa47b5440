#ifndef FILIGREE_WORKER_REPORT_SERIES_H_
#define FILIGREE_WORKER_REPORT_SERIES_H_

#include <cstddef>
#include <vector>

// Curves of a run, made small enough for a page. Points are in ascending order of x; y may be NaN.

namespace filigree::report {

struct Point {
  double x = 0, y = 0;
};

// At most 4 * buckets points that draw the same picture: of each bucket of neighbours the first, the lowest, the
// highest and the last, in their order. A bucket without a finite value becomes one NaN, a gap.
std::vector<Point> Thin(const std::vector<Point>& points, size_t buckets);

// At most `buckets` points: the mean of each bucket's finite values at the mean of their x; buckets without any are
// left out.
std::vector<Point> Average(const std::vector<Point>& points, size_t buckets);

// The mean of the finite values among the last `window` points, at each point.
std::vector<Point> RunningMean(const std::vector<Point>& points, size_t window);

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_SERIES_H_
