#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "worker/telemetry/display.h"

// The texts of the display: pure functions.

namespace filigree::telemetry {
namespace {

constexpr double kMinute = 60, kHour = 3600, kDay = 86400, kYear = 365 * kDay;

// "9,941"
std::string Grouped(double x) {
  if (!std::isfinite(x) || std::abs(x) > 1e15) return fmt::format("{:.3g}", x);
  std::string digits = fmt::format("{:.0f}", std::abs(x));
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  return (x < 0 ? "-" : "") + digits;
}

}  // namespace

std::string DurationText(double seconds) {
  if (!(seconds >= 0) || !std::isfinite(seconds)) return "?";
  if (seconds < 10) return fmt::format("{:.1f}s", seconds);
  const double whole = std::round(seconds);
  if (whole < kMinute) return fmt::format("{:.0f}s", whole);
  if (whole < kHour) return fmt::format("{:.0f}m {:02.0f}s", std::floor(whole / kMinute), std::fmod(whole, kMinute));
  if (whole < kDay)
    return fmt::format("{:.0f}h {:02.0f}m", std::floor(whole / kHour), std::floor(std::fmod(whole, kHour) / kMinute));
  return fmt::format("{:.0f}d {:02.0f}h", std::floor(whole / kDay), std::floor(std::fmod(whole, kDay) / kHour));
}

std::string TimeText(double seconds) {
  if (!(std::abs(seconds) < 1e11)) return "?";
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  localtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string StepLine(const StepRecord& record) {
  const std::string ms = record.ms < 100 ? fmt::format("{:.1f}", record.ms) : Grouped(record.ms);
  return fmt::format(
      "step {}  loss {:.4f}  z {:+.2f}  lr {:.3e}  density {:.4g}  grad {:.3e}  {} ms  {} tok/s  {:.1f}% of peak",
      record.step, record.loss, record.z_score, record.lr, record.density, record.gradient_norm, ms,
      Grouped(record.tokens_per_second), record.percent_of_peak);
}

std::string EtaText(double seconds, double now) {
  if (!std::isfinite(seconds) || seconds < 0 || !std::isfinite(now)) return {};
  if (seconds > 100 * kYear) return "eta over 100 years";
  const auto today = static_cast<std::time_t>(now), end = static_cast<std::time_t>(now + seconds);
  std::tm a{}, b{};
  localtime_r(&today, &a);
  localtime_r(&end, &b);
  const bool same_day = a.tm_year == b.tm_year && a.tm_yday == b.tm_yday;
  char done[32];
  std::strftime(done, sizeof(done), same_day ? "%H:%M" : "%Y-%m-%d %H:%M", &b);
  return fmt::format("eta {}, done {}", DurationText(seconds), done);
}

std::string BarText(int64_t completed, int64_t steps, const std::string& eta, int width) {
  const double share =
      steps > 0 ? std::clamp(static_cast<double>(completed) / static_cast<double>(steps), 0.0, 1.0) : 1.0;
  // Rounded down: 100% is said when all is done.
  const std::string percent = fmt::format("{:3.0f}%", std::floor(100 * share));
  const std::string counts = fmt::format(" {}/{}", completed, steps);
  const std::string time = eta.empty() ? "" : "  " + eta;
  constexpr int kLeastCells = 10, kMostCells = 60, kFrame = 3;  // "[", "] "
  for (const std::string& text : {fmt::format("{}{}{}", percent, counts, time), percent + counts, percent}) {
    const int cells = std::min(width - static_cast<int>(text.size()) - kFrame, kMostCells);
    if (cells < kLeastCells) continue;
    const int full = static_cast<int>(std::floor(share * cells));
    return fmt::format("[{}{}] {}", std::string(static_cast<size_t>(full), '='),
                       std::string(static_cast<size_t>(cells - full), ' '), text);
  }
  return percent.substr(0, static_cast<size_t>(std::max(width, 0)));
}

}  // namespace filigree::telemetry
