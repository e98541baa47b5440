#include "worker/telemetry/z_score.h"

#include <algorithm>
#include <cmath>

namespace filigree::telemetry {

double ZScore::Add(double x) {
  if (!std::isfinite(x)) return 0;
  const int64_t n = std::min<int64_t>(seen_, kWindow);
  // The oldest first, so that the sums do not depend on where the ring begins, and relative to the oldest, so that a
  // window of equal values has a spread of exactly 0.
  const auto past = [&](int64_t i) { return values_[static_cast<size_t>((seen_ - n + i) % kWindow)]; };
  double score = 0;
  if (n >= kFewest) {
    const double origin = past(0);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += past(i) - origin;
    const double mean = sum / static_cast<double>(n);
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += (past(i) - origin - mean) * (past(i) - origin - mean);
    const double sd = std::sqrt(squares / static_cast<double>(n));
    if (sd > 0) score = (x - origin - mean) / sd;
  }
  values_[static_cast<size_t>(seen_ % kWindow)] = x;
  ++seen_;
  return score;
}

}  // namespace filigree::telemetry
