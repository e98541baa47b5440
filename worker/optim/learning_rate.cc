#include "worker/optim/learning_rate.h"

#include <cmath>

#include "kernels/base/check.h"

namespace filigree::optim {
namespace {

double WarmupDecay(double warmup, int64_t steps, int64_t s) {
  const auto w = static_cast<int64_t>(std::floor(warmup * static_cast<double>(steps)));
  if (s < w) return static_cast<double>(s) / static_cast<double>(w);
  return static_cast<double>(steps - s) / static_cast<double>(steps - w);
}

}  // namespace

double LearningRate(const config::OptimSettings& settings, int64_t steps, int64_t s, double density,
                    double final_density) {
  CHECK(0 <= s && s < steps, "step {} of a run of {} steps", s, steps);
  CHECK(density > 0 && final_density > 0, "densities {} and {}", density, final_density);
  const double sharkfin = settings.lr_density_scaling ? std::sqrt(final_density / density) : 1;
  return settings.lr * WarmupDecay(settings.warmup, steps, s) * sharkfin;
}

}  // namespace filigree::optim
