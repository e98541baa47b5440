#ifndef FILIGREE_TESTS_PARITY_ROUNDING_H_
#define FILIGREE_TESTS_PARITY_ROUNDING_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"
#include "tests/parity/run_case.h"
#include "worker/config/settings.h"

// How far rounding alone may take the weights of a training case. Training amplifies errors along a direction or two,
// by an order of magnitude over a few steps; how much of it one run gets depends on how its roundings happen to fall,
// and the authors' single run in fp32 may have been lucky. So the case is run again, with every weight that is not 0
// moved to the next float after every step, up or down at random. That is 3.5 times the error of storing a weight in
// fp32 (a last place over the root of 12), which every run makes. Over those runs
//
//   D = RMS of ||w' - w|| / ||w||          of each tensor after the last step
//
// and what is farther than 2 D from the truth is no rounding. D is measured on our own run: where it is above 1e-5 it
// says nothing. Runs in which a mask turns are left out (ties.h is about those).

namespace filigree::parity {

// Is all that the report misses a few final weights that are nearly right? Else there is no need to measure.
bool MayBeRounding(const Report& report);

// 2 D of every tensor of the registry. All 0 where D says nothing: too large, or masks turned in most runs.
// Deterministic. With a world: collective, the same on all ranks. A status where a weight cannot be read or a rank is
// lost.
absl::StatusOr<std::vector<double>> MeasureRounding(const GoldenCase& golden, const Runner& runner,
                                                    const config::Settings& settings);

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_ROUNDING_H_
