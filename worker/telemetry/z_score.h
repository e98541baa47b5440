#ifndef FILIGREE_WORKER_TELEMETRY_Z_SCORE_H_
#define FILIGREE_WORKER_TELEMETRY_Z_SCORE_H_

#include <array>
#include <cstdint>

// How unusual a loss is: (x - mean) / sd over the 128 values before it, sd with divisor n. 0 while fewer than 8 values
// have been seen and where sd is 0. Values that are not finite score 0 here, and are left out of the window. The window
// is summed anew for every value, so that the result depends on the window alone.

namespace filigree::telemetry {

class ZScore {
 public:
  static constexpr int kWindow = 128;
  static constexpr int kFewest = 8;

  // The score of `x` against the window; then x enters the window.
  double Add(double x);

 private:
  std::array<double, kWindow> values_{};
  int64_t seen_ = 0;
};

}  // namespace filigree::telemetry

#endif  // FILIGREE_WORKER_TELEMETRY_Z_SCORE_H_
