#include "worker/mask/min_alive.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace filigree::mask {
namespace {

// One kind of matrix at the final density.
struct KindAlive {
  std::string kind;
  int64_t k = 0, units = 0;
  MinAlive effective;
};

// Every kind that has units and a mask, once.
std::vector<KindAlive> MaskedKinds(const model::Registry& registry, double density, int64_t min_alive) {
  std::vector<KindAlive> kinds;
  std::set<std::string> seen;
  for (const model::TensorInfo& info : registry.tensors()) {
    if (info.density != model::Density::kWeight || !seen.insert(info.kind).second) continue;
    const int64_t k = KeptEntries(density, info.numel());
    if (k < info.numel()) kinds.push_back({info.kind, k, UnitsOf(info), EffectiveMinAlive(info, k, min_alive)});
  }
  return kinds;
}

}  // namespace

int64_t KeptEntries(double density, int64_t numel) {
  return std::clamp<int64_t>(static_cast<int64_t>(std::floor(density * static_cast<double>(numel))), 0, numel);
}

int64_t UnitsOf(const model::TensorInfo& tensor) {
  switch (tensor.unit) {
    case kernels::Unit::kRow:
      return tensor.rows;
    case kernels::Unit::kColumn:
      return tensor.cols;
    case kernels::Unit::kNone:
      break;
  }
  return 0;
}

MinAlive EffectiveMinAlive(const model::TensorInfo& tensor, int64_t k, int64_t min_alive) {
  const int64_t units = UnitsOf(tensor);
  if (units == 0 || k == 0) return {};
  const int64_t j = std::min(min_alive, k / units);
  return {j, static_cast<double>(j * units) / static_cast<double>(k)};
}

std::vector<std::string> MinAliveNotes(const model::Registry& registry, const Densities& final_densities,
                                       int64_t min_alive, config::MaskScope scope) {
  const std::vector<KindAlive> kinds = MaskedKinds(registry, final_densities.weight, min_alive);
  if (kinds.empty() || min_alive == 0) return {};
  const bool global = scope == config::MaskScope::kGlobal;
  std::vector<std::string> shares, lowered, decided;
  int64_t k = 0, by_units = 0;
  for (const KindAlive& x : kinds) {
    k += x.k;
    by_units += x.effective.j * x.units;
    shares.push_back(fmt::format("{} {:.0f} %", x.kind, 100 * x.effective.share_of_k));
    if (x.effective.j < min_alive) {
      lowered.push_back(fmt::format("{} to {} (k = {} for {} units)", x.kind, x.effective.j, x.k, x.units));
    }
    if (x.effective.j * x.units == x.k) decided.push_back(x.kind);
  }
  if (global) {
    shares = {
        fmt::format("all matrices together {:.0f} %", 100 * static_cast<double>(by_units) / static_cast<double>(k))};
    decided = by_units == k ? std::vector<std::string>{"all matrices"} : std::vector<std::string>();
  }
  std::vector<std::string> notes;
  notes.push_back(fmt::format("min alive (j = {}) decides this share of the entries kept at the final density: {}",
                              min_alive, fmt::join(shares, ", ")));
  if (!lowered.empty()) {
    notes.push_back(fmt::format("min alive is lowered from {} where the final density leaves too few entries: {}",
                                min_alive, fmt::join(lowered, ", ")));
  }
  if (!decided.empty()) {
    notes.push_back(fmt::format(
        "min alive alone decides what is kept of {}, the global ranking by magnitude chooses nothing there: a density "
        "above j divided by the entries of a unit, a larger model.d_model or a smaller sparsity.min_alive would change "
        "that",
        fmt::join(decided, ", ")));
  }
  return notes;
}

}  // namespace filigree::mask
