#ifndef FILIGREE_TESTS_PARITY_TIES_H_
#define FILIGREE_TESTS_PARITY_TIES_H_

#include <cstdint>
#include <vector>

#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"
#include "worker/config/settings.h"
#include "worker/train/state.h"

// Decisions of a weight selection that rounding can turn. The truth was computed in double; a run in single precision
// knows a weight of a matrix to about B r, B being the distance that the case allows it for that matrix and r the root
// mean square of the weights kept. So of two weights of which one is kept and the other is not, either may be kept
// where
//
//   |w kept| - |w dropped|  <=  sqrt(2) B r
//
// and the two ways part for good: what was dropped begins anew from 0. A run that misses is repeated the other way
// (training_case.cc): everything must then agree.

namespace filigree::parity {

struct Tie {
  int64_t step = 0;
  int tensor = 0;
  int64_t kept = 0, dropped = 0;  // entries
  double gap = 0, bound = 0;      // of the magnitudes, relative to that of the kept one
  float other = 0;                // what the dropped one would be after the step

  double closeness() const { return gap / bound; }
  bool operator==(const Tie& tie) const {
    return step == tie.step && tensor == tie.tensor && kept == tie.kept && dropped == tie.dropped;
  }
};

// Looks for ties of every step of a run. Matrices are whole, or everything in them is a candidate.
class TieWatch {
 public:
  // Borrows all three.
  TieWatch(const GoldenCase& golden, const config::Settings& settings, const train::TrainState& state);

  // Before a step, and after it: its ties, two zeros excepted, among which the order of entries decides.
  void Before();
  std::vector<Tie> After(int64_t step, double lr) const;

 private:
  void OfMatrix(int64_t step, double lr, const model::TensorInfo& info, std::vector<Tie>& ties) const;

  const GoldenCase& golden_;
  const config::Settings& settings_;
  const train::TrainState& state_;
  std::vector<float> weights_;  // before the step
};

// After the step of the tie: the one that was dropped is kept, and the other way round.
void TakeOtherWay(const Tie& tie, train::TrainState& state);

// A row of the table.
Comparison RowOf(const GoldenCase& golden, const model::Registry& registry, const Tie& tie, bool other_way);

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_TIES_H_
