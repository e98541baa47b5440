#include "worker/report/series.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace filigree::report {
namespace {

// Bucket b of `buckets` over n points is [Begin(b), Begin(b + 1)).
size_t Begin(size_t b, size_t buckets, size_t n) { return b * n / buckets; }

}  // namespace

std::vector<Point> Thin(const std::vector<Point>& points, size_t buckets) {
  const size_t n = points.size();
  if (buckets == 0 || n <= 4 * buckets) return points;
  std::vector<Point> out;
  out.reserve(4 * buckets);
  for (size_t b = 0; b < buckets; ++b) {
    std::vector<size_t> finite;
    for (size_t i = Begin(b, buckets, n); i < Begin(b + 1, buckets, n); ++i)
      if (std::isfinite(points[i].y)) finite.push_back(i);
    if (finite.empty()) {
      out.push_back({points[Begin(b, buckets, n)].x, std::numeric_limits<double>::quiet_NaN()});
      continue;
    }
    const auto less = [&](size_t i, size_t j) { return points[i].y < points[j].y; };
    const auto [low, high] = std::minmax_element(finite.begin(), finite.end(), less);
    std::array<size_t, 4> kept = {finite.front(), *low, *high, finite.back()};
    std::sort(kept.begin(), kept.end());
    for (size_t i = 0; i < kept.size(); ++i)
      if (i == 0 || kept[i] != kept[i - 1]) out.push_back(points[kept[i]]);
  }
  return out;
}

std::vector<Point> Average(const std::vector<Point>& points, size_t buckets) {
  const size_t n = points.size();
  std::vector<Point> out;
  buckets = std::min(buckets, n);
  for (size_t b = 0; b < buckets; ++b) {
    double x = 0, y = 0, count = 0;
    for (size_t i = Begin(b, buckets, n); i < Begin(b + 1, buckets, n); ++i) {
      if (!std::isfinite(points[i].y)) continue;
      x += points[i].x;
      y += points[i].y;
      ++count;
    }
    if (count > 0) out.push_back({x / count, y / count});
  }
  return out;
}

std::vector<Point> RunningMean(const std::vector<Point>& points, size_t window) {
  std::vector<Point> out;
  out.reserve(points.size());
  long double sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    if (std::isfinite(points[i].y)) {
      sum += points[i].y;
      ++count;
    }
    if (i >= window && std::isfinite(points[i - window].y)) {
      sum -= points[i - window].y;
      --count;
    }
    const double mean = count > 0 ? static_cast<double>(sum / count) : std::numeric_limits<double>::quiet_NaN();
    out.push_back({points[i].x, mean});
  }
  return out;
}

}  // namespace filigree::report
