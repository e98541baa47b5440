#include "worker/config/auto_policy.h"

#include <algorithm>

namespace filigree::config {
namespace {

// The densest runs that were faster in the active regime and lost at most half a percent.
constexpr double kActiveFrom = 1.0 / 16;

struct Policy {
  double candidates;  // c
  double start;       // densities begin at this times their last value
};

Policy PolicyFor(double density) {
  if (density > kActiveFrom) return {4, 4};
  if (density >= 1.0 / 32) return {1.25, 1};
  if (density >= 1.0 / 128) return {2, 2};
  return {4, 4};
}

void Fill(double value, double& setting) {
  if (setting == 0) setting = value;
}

}  // namespace

Regime BetterRegime(const SparsitySettings& s) {
  const Policy policy = PolicyFor(s.density);
  const bool constant = s.anneal_shape == AnnealShape::kConstant;
  if (s.density_start == 0 && !constant && s.density > kActiveFrom) return Regime::kExact;
  const double given = s.density_start == 0 ? policy.start * s.density : std::max(s.density_start, s.density);
  const double start = constant ? s.density : given;
  return (s.candidates == 0 ? policy.candidates : s.candidates) * start < 1 ? Regime::kActive : Regime::kExact;
}

void StartDense(SparsitySettings& s) {
  Fill(1, s.density_start);
  Fill(1, s.embedding_density_start);
}

void FillPolicy(SparsitySettings& s) {
  if (s.regime == Regime::kAuto) s.regime = BetterRegime(s);
  const bool active = s.regime == Regime::kActive;
  const Policy policy = PolicyFor(s.density);
  Fill(policy.candidates, s.candidates);
  Fill(active ? std::min(1.0, policy.start * s.density) : 1, s.density_start);
  Fill(active ? std::min(1.0, policy.start * s.embedding_density) : 1, s.embedding_density_start);
  Fill(active ? 0.6 : 0.5, s.anneal_end);
}

void KeepPolicy(const SparsitySettings& of, SparsitySettings& settings) {
  if (settings.regime == Regime::kAuto) settings.regime = of.regime;
  Fill(of.candidates, settings.candidates);
  Fill(of.density_start, settings.density_start);
  Fill(of.embedding_density_start, settings.embedding_density_start);
  Fill(of.anneal_end, settings.anneal_end);
}

}  // namespace filigree::config
