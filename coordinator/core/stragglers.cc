#include "coordinator/core/stragglers.h"

#include <algorithm>

namespace filigree::coordinator {
namespace {

double LowerMedian(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool OwnWork(int phase) {
  return phase != static_cast<int>(Phase::kExchange) && phase != static_cast<int>(Phase::kCheckpoint);
}

constexpr double kLeastShare = 0.1;  // of a step without its checkpoint, that is lost to the others

}  // namespace

std::vector<Straggler> FindStragglers(const std::vector<RankTelemetry>& ranks, int64_t window, double ratio) {
  const size_t count = ranks.size();
  std::vector<PhaseSeconds> means(count);
  std::vector<double> work(count, 0.0), step(count, 0.0);
  for (size_t r = 0; r < count; ++r) {
    if (!ranks[r].MeanOver(window, means[r])) return {};
    for (int p = 0; p < kPhases; ++p) {
      if (p != static_cast<int>(Phase::kCheckpoint)) step[r] += means[r][p];
      if (OwnWork(p)) work[r] += means[r][p];
    }
  }
  if (count < 2) return {};
  const double median = LowerMedian(work);
  if (median <= 0) return {};
  std::vector<Straggler> found;
  for (size_t r = 0; r < count; ++r)
    if (work[r] >= ratio * median && work[r] - median >= kLeastShare * step[r])
      found.push_back({static_cast<int32_t>(r), work[r] / median});
  if (found.empty()) return found;
  for (int p = 0; p < kPhases; ++p) {
    if (!OwnWork(p)) continue;
    std::vector<double> seconds(count);
    for (size_t r = 0; r < count; ++r) seconds[r] = means[r][p];
    const double phase_median = LowerMedian(seconds);
    for (Straggler& straggler : found)
      if (seconds[straggler.rank] - phase_median > straggler.seconds - straggler.median_seconds) {
        straggler.phase = static_cast<Phase>(p);
        straggler.seconds = seconds[straggler.rank];
        straggler.median_seconds = phase_median;
      }
  }
  return found;
}

std::vector<Straggler> FindStragglers(const std::vector<RankTelemetry>& ranks, const std::set<int32_t>& already,
                                      const Options& options) {
  std::vector<Straggler> found = FindStragglers(ranks, options.straggler_steps, options.straggler_until);
  std::erase_if(found, [&](const Straggler& straggler) {
    return straggler.ratio < options.straggler_ratio && already.count(straggler.rank) == 0;
  });
  return found;
}

}  // namespace filigree::coordinator
