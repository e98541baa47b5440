#include "worker/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "worker/report/html.h"

namespace filigree::report {
namespace {

bool Logarithmic(Scale scale) { return scale == Scale::kLog || scale == Scale::kDensity; }

// The least of 1, 2, 5 times a power of ten that is not below x.
double RoundUp(double x) {
  const double decade = std::pow(10, std::floor(std::log10(x)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * decade >= x * (1 - 1e-9)) return factor * decade;
  return 10 * decade;
}

std::vector<Tick> LinearTicks(const Axis& axis, int wanted) {
  const double step = RoundUp((axis.high - axis.low) / wanted);
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  std::vector<Tick> ticks;
  const double first = std::ceil(axis.low / step - 1e-9), last = std::floor(axis.high / step + 1e-9);
  for (double i = first; i <= last && ticks.size() < 100; ++i) {
    const double value = i == 0 ? 0 : i * step;
    const double largest = std::max(std::abs(axis.low), std::abs(axis.high));
    std::string label;
    if (largest >= 1e4 && step >= 1)
      label = ShortNumber(value);
    else if (decimals > 4)
      label = fmt::format("{:.3g}", value);
    else
      label = fmt::format("{:.{}f}", value, decimals);
    ticks.push_back({value, std::move(label)});
  }
  return ticks;
}

std::vector<Tick> DecadeTicks(const Axis& axis, int wanted) {
  const double decades = std::log10(axis.high / axis.low);
  if (decades < 1) return LinearTicks(axis, wanted);
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / (wanted + 1))));
  std::vector<Tick> ticks;
  for (int e = static_cast<int>(std::floor(std::log10(axis.low))); e <= std::log10(axis.high) + 1e-9; ++e) {
    if (e % stride != 0) continue;
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && decades * 2 > wanted) break;
      const double value = factor * std::pow(10, e);
      if (value >= axis.low * (1 - 1e-9) && value <= axis.high * (1 + 1e-9)) ticks.push_back({value, Number(value)});
    }
  }
  return ticks;
}

std::vector<Tick> DensityTicks(const Axis& axis, int wanted) {
  const double octaves = std::log2(axis.high / axis.low);
  if (octaves < 1) return LinearTicks(axis, wanted);
  const int stride = std::max(1, static_cast<int>(std::ceil(octaves / (wanted + 1))));
  std::vector<Tick> ticks;
  for (int e = static_cast<int>(std::ceil(std::log2(axis.low) - 1e-9)); e <= std::log2(axis.high) + 1e-9; ++e)
    if (e % stride == 0)
      ticks.push_back({std::exp2(e), e < 0 ? fmt::format("1/{:.0f}", std::exp2(-e)) : Number(std::exp2(e))});
  return ticks;
}

}  // namespace

double Axis::Place(double value) const {
  if (std::isnan(value)) return value;
  const double v = std::clamp(value, low, high);
  if (Logarithmic(scale)) return std::log(v / low) / std::log(high / low);
  return (v - low) / (high - low);
}

Axis FitAxis(Scale scale, double low, double high, bool zero) {
  if (scale == Scale::kAuto) scale = low > 0 && high / low > 30 ? Scale::kLog : Scale::kLinear;
  // Nothing that can be drawn lies below the least normal number, and quotients of it would overflow.
  if (Logarithmic(scale) && !(low > 1e-300)) scale = Scale::kLinear;
  if (Logarithmic(scale)) {
    const double room = std::max(std::pow(high / low, 0.04), 1.02);
    return {scale, low / room, high * room};
  }
  if (zero) low = std::min(low, 0.0);
  double room = 0.04 * (high - low);
  if (!(room > 0)) room = std::max(std::abs(high) * 0.1, 1e-12);
  return {scale, zero && low == 0 ? 0 : low - room, high + room};
}

std::vector<Tick> Ticks(const Axis& axis, int wanted) {
  switch (axis.scale) {
    case Scale::kLog:
      return DecadeTicks(axis, wanted);
    case Scale::kDensity:
      return DensityTicks(axis, wanted);
    default:
      return LinearTicks(axis, wanted);
  }
}

}  // namespace filigree::report
