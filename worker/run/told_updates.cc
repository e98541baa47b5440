#include "worker/run/told_updates.h"

#include <cmath>

namespace filigree::train {

void ToldUpdates::StepTook(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return;
  mean_ = mean_ == 0 ? seconds : mean_ + (seconds - mean_) / 16;
}

bool ToldUpdates::IsTold(int64_t update) const {
  if (update < 1) return false;
  int64_t stride = 1;
  while (static_cast<double>(stride) * mean_ < between_ && stride < update) stride *= 2;
  // Where it is not reached yet, `stride` is the first power of two that is not below the update.
  return update % stride == 0;
}

std::vector<std::pair<std::string, std::string>> WordsOf(std::span<const exchange::TensorDigests> state) {
  using exchange::Component;
  constexpr Component kWeights[] = {Component::kWeights},
                      kMoments[] = {Component::kFirstMoments, Component::kSecondMoments},
                      kMasks[] = {Component::kMask, Component::kCandidates};
  const auto word = [&](std::span<const Component> of) { return exchange::Hex(exchange::Together(state, of)); };
  return {{"masks", word(kMasks)}, {"moments", word(kMoments)}, {"weights", word(kWeights)}};
}

}  // namespace filigree::train
