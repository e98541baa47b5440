#include "worker/mask/density.h"

#include <cmath>

#include "kernels/base/check.h"

namespace filigree::mask {
namespace {

// One density where `x` of the window has passed. The ends are the settings themselves, not what start + (final -
// start) rounds to, so that the learning rate's factor sqrt(final / f) is exactly 1 once annealing ends.
double Shape(const config::SparsitySettings& settings, double start, double final, double x) {
  if (settings.anneal_shape == config::AnnealShape::kConstant || x >= 1) return final;
  if (x <= 0) return start;
  if (settings.anneal_shape == config::AnnealShape::kPower) {
    return final + (start - final) * std::pow(1 - x, settings.anneal_power);
  }
  return start + (final - start) * x;
}

}  // namespace

Densities DensitiesAt(const config::SparsitySettings& settings, int64_t steps, int64_t s) {
  CHECK(0 <= s && s < steps, "step {} of a run of {} steps", s, steps);
  const double a = settings.anneal_start * static_cast<double>(steps);
  const double b = settings.anneal_end * static_cast<double>(steps);
  const double step = static_cast<double>(s);
  // A window of no length is a step at its end.
  const double x = b > a ? (step - a) / (b - a) : step >= b ? 1 : 0;
  return {Shape(settings, settings.density_start, settings.density, x),
          Shape(settings, settings.embedding_density_start, settings.embedding_density, x)};
}

}  // namespace filigree::mask
