#include "worker/run/loss_spikes.h"

#include <algorithm>
#include <limits>

#include "fmt/format.h"

namespace filigree::train {
namespace {

constexpr size_t kLosses = 16;
constexpr double kJump = 1;  // nats: a step's own noise is a tenth of that and less

}  // namespace

void LossSpikes::Take(double loss) {
  if (last_.size() < kLosses)
    last_.push_back(loss);
  else
    last_[static_cast<size_t>(taken_) % kLosses] = loss;
  ++taken_;
}

double LossSpikes::MostUsual() const {
  if (last_.size() < kLosses) return std::numeric_limits<double>::infinity();
  return *std::max_element(last_.begin(), last_.end()) + kJump;
}

std::string LossSpikes::Verdict(int64_t s, double first, double again) {
  if (first == again)
    return fmt::format("step {}: the loss jumped to {:.4f}; computed again it is the same, so the step is taken", s,
                       first);
  return fmt::format(
      "step {}: the loss was {:.4f}, and computed again {:.4f}: a machine miscalculated; look at its memory "
      "if that comes again",
      s, first, again);
}

}  // namespace filigree::train
