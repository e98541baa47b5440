#ifndef FILIGREE_WORKER_RUN_TOLD_UPDATES_H_
#define FILIGREE_WORKER_RUN_TOLD_UPDATES_H_

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "worker/exchange/state_digest.h"

// Of which updates ranks tell the coordinator the digests of their states. It hears of a rank about once a second, and
// compares what ranks say of the same update: so all of them stay with one for a while. They choose alike without a
// word, as steps take as long on all of them, or to within a factor of two, and powers of two lie in each other.

namespace filigree::train {

class ToldUpdates {
 public:
  // Seconds between updates that are told of; beginnings are told of more often: at 1, 2, 4, ...
  explicit ToldUpdates(double seconds = 30) : between_(seconds) {}

  void StepTook(double seconds);
  bool IsTold(int64_t update) const;

 private:
  const double between_;
  double mean_ = 0;  // seconds of a step, of the last ones
};

// Names and hex digits, as the coordinator takes them: "masks" (and candidates), "moments", "weights", ascending.
std::vector<std::pair<std::string, std::string>> WordsOf(std::span<const exchange::TensorDigests> state);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_TOLD_UPDATES_H_
