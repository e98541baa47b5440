#ifndef FILIGREE_COORDINATOR_CORE_STRAGGLERS_H_
#define FILIGREE_COORDINATOR_CORE_STRAGGLERS_H_

#include <cstdint>
#include <set>
#include <vector>

#include "coordinator/core/options.h"
#include "coordinator/core/telemetry.h"

// Which rank the others wait for. Steps of all ranks take equally long, since all wait for the slowest in the exchange;
// so what counts is a rank's own work: all phases but the exchange, where it waits, and checkpoints, which a few write.
//
//     slow(r)  <=>  work(r) >= ratio x median over ranks of work       per step, mean over the window
//                   and work(r) - median >= a tenth of r's step, the exchange with it, checkpoints
//                   not: else nobody gains by its haste
//
// The median is the lower one of two in the middle, so that of two ranks one can be slow. A rank that has more of the
// batch than others works longer, too, and they wait for it all the same.

namespace filigree::coordinator {

struct Straggler {
  int32_t rank = 0;
  double ratio = 0;                        // its work over the median
  Phase phase = Phase::kForward;           // that exceeds its own median by most
  double seconds = 0, median_seconds = 0;  // of that phase, a step
};

// By rank. None where a rank has not reported `window` steps yet, or there is one rank only.
std::vector<Straggler> FindStragglers(const std::vector<RankTelemetry>& ranks, int64_t window, double ratio);

// The same with two ratios: who is one of `already` stays one down to options.straggler_until.
std::vector<Straggler> FindStragglers(const std::vector<RankTelemetry>& ranks, const std::set<int32_t>& already,
                                      const Options& options);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_STRAGGLERS_H_
