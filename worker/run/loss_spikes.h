#ifndef FILIGREE_WORKER_RUN_LOSS_SPIKES_H_
#define FILIGREE_WORKER_RUN_LOSS_SPIKES_H_

#include <cstdint>
#include <string>
#include <vector>

// Which losses are so much larger than the last ones that the step is computed again, in case a machine miscalculated.
// It decides nothing else: the step is taken as it comes out the second time, so a run has the same bits whatever it
// holds. Ranks that train together have the same losses, and begin with none at the same step.

namespace filigree::train {

class LossSpikes {
 public:
  // The loss of a step that was taken.
  void Take(double loss);

  // A nat above the largest of the last 16 losses; infinity until there are so many.
  double MostUsual() const;

  // What became of step `s`, for the log.
  static std::string Verdict(int64_t s, double first, double again);

 private:
  std::vector<double> last_;  // a ring
  int64_t taken_ = 0;
};

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_LOSS_SPIKES_H_
