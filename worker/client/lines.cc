#include "worker/client/lines.h"

#include <fmt/format.h>

#include "worker/client/names.h"
#include "worker/telemetry/display.h"

namespace filigree::client {
namespace {

std::string ClockText(int64_t wall_us) {
  const std::string text = telemetry::TimeText(static_cast<double>(wall_us) / 1e6);
  return text.size() > 11 ? text.substr(11) : text;  // the day is left out
}

std::string What(const v1::Event& event) {
  switch (event.kind()) {
    case v1::EVENT_KIND_JOB_MOVED:
      return NameOf(event.to());
    case v1::EVENT_KIND_COMMITTED:
      return "checkpoint";
    default: {
      std::string words = NameOf(event.kind());
      for (char& c : words)
        if (c == '_') c = ' ';
      return words;
    }
  }
}

}  // namespace

std::string EventLine(const v1::Event& event) {
  const std::string& who = event.job().empty() ? event.worker() : event.job();
  return fmt::format("{}  {}  {}: {}", ClockText(event.wall_us()), telemetry::Printable(who), What(event),
                     telemetry::Printable(event.text()));
}

double SecondsLeft(const v1::Progress& progress, int64_t target) {
  if (target <= 0 || !(progress.step_seconds() > 0) || progress.step() > target) return -1;
  return static_cast<double>(target - progress.step()) * progress.step_seconds();
}

std::string ProgressLine(const v1::Progress& progress, int64_t target, double now) {
  std::string line = fmt::format("step {}", progress.step());
  if (target > 0) line += fmt::format(" of {}", target);
  if (progress.step_seconds() > 0) line += fmt::format("  {:.1f} ms/step", progress.step_seconds() * 1e3);
  line += fmt::format("  {} of {} ranks run", progress.ranks_running(), progress.ranks());
  if (progress.last_heard_ms() > 2500) line += fmt::format("  a worker is silent for {} ms", progress.last_heard_ms());
  const std::string eta = telemetry::EtaText(SecondsLeft(progress, target), now);
  return eta.empty() ? line : line + "  " + eta;
}

std::string SlowLine(const v1::SlowRank& slow) {
  return fmt::format("rank {} on {}: {:.1f} times the median, mostly in {}: {:.3g} ms a step against {:.3g} ms",
                     slow.rank(), telemetry::Printable(slow.worker()), slow.ratio(), NameOf(slow.phase()),
                     slow.seconds() * 1e3, slow.median_seconds() * 1e3);
}

}  // namespace filigree::client
