#include "worker/bench/measure.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.h"
#include "worker/machine/clock.h"

namespace filigree::bench {
namespace {

// Shorter than this a clock's own steps would show.
constexpr double kShortestSample = 0.01;

double Now(int threads) { return threads == 1 ? machine::ThreadCpuSeconds() : machine::WallSeconds(); }

// Seconds of one call, the mean of `calls`.
double Sample(const Case& c, int calls, int threads) {
  const double start = Now(threads);
  for (int i = 0; i < calls; ++i) c.work();
  return (Now(threads) - start) / calls / c.part;
}

int CallsForOneSample(const Case& c, int threads) {
  const double once = Sample(c, 1, threads) * c.part;
  return static_cast<int>(std::clamp(std::ceil(kShortestSample / std::max(once, 1e-7)), 1.0, 10000.0));
}

Timing Summarise(const std::vector<double>& seconds) {
  return {Median(seconds), *std::min_element(seconds.begin(), seconds.end())};
}

}  // namespace

double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Roof RoofOf(const machine::Machine& machine) {
  const bool alone = machine.threads == 1;
  Roof roof;
  roof.gflops = alone ? machine.core_gflops : machine.all_gflops;
  roof.l2_gbps = machine.core_l2_gbps * std::min(machine.threads, machine.processor.cores);
  roof.memory_gbps = alone ? machine.core_dram_gbps : machine.all_dram_gbps;
  roof.both_ways_gbps = std::max(roof.memory_gbps, alone ? machine.core_update_gbps : machine.all_update_gbps);
  return roof;
}

std::pair<double, std::string> LeastTime(double flops, double bytes, Level level, const machine::Machine& machine) {
  const Roof roof = RoofOf(machine);
  double rate = roof.l2_gbps;
  if (level == Level::kMemory) rate = roof.memory_gbps;
  if (level == Level::kMemoryBothWays) rate = roof.both_ways_gbps;
  const double arithmetic_time = 1e-9 * flops / roof.gflops;
  const double transfer_time = 1e-9 * bytes / rate;
  if (arithmetic_time >= transfer_time) return {arithmetic_time, "arithmetic"};
  return {transfer_time, level == Level::kL2 ? "l2" : "memory"};
}

std::vector<Result> Measure(const std::vector<Case>& cases, int repeats, const machine::Machine& machine) {
  std::vector<int> calls;
  calls.reserve(cases.size());
  for (const Case& c : cases) calls.push_back(CallsForOneSample(c, machine.threads));
  std::vector<std::vector<double>> seconds(cases.size());
  for (int r = 0; r < repeats; ++r) {
    for (size_t i = 0; i < cases.size(); ++i) seconds[i].push_back(Sample(cases[i], calls[i], machine.threads));
  }

  std::vector<Result> results;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    Result result{.variant = c.variant, .time = Summarise(seconds[i]), .flops = c.flops, .bytes = c.bytes};
    const auto [least, bound] = LeastTime(c.flops, c.bytes, c.level, machine);
    result.roofline = least;
    result.percent_of_peak = 100 * least / result.time.median;
    result.bound = bound;
    const auto same = [&](const Case& other) { return other.variant == c.baseline; };
    const auto baseline = std::find_if(cases.begin(), cases.end(), same);
    if (!c.baseline.empty()) {
      CHECK(baseline != cases.end(), "no case is called {}", c.baseline);
      const std::vector<double>& other = seconds[baseline - cases.begin()];
      std::vector<double> ratios;
      ratios.reserve(repeats);
      for (int r = 0; r < repeats; ++r) ratios.push_back(other[r] / seconds[i][r]);
      result.baseline = c.baseline;
      result.baseline_time = Summarise(other);
      result.speedup = Median(ratios);
    }
    results.push_back(result);
  }
  return results;
}

}  // namespace filigree::bench
