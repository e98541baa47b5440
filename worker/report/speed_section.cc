#include <fmt/format.h>

#include <array>
#include <cmath>

#include "worker/report/html.h"
#include "worker/report/sections.h"
#include "worker/telemetry/display.h"

// Throughput, the time of a step, and where it goes.

namespace filigree::report {
namespace {

struct Share {
  std::string name;
  double seconds;
  int colour;
};

// Seconds of all steps by phase; what no phase claims of the steps' time is "other".
std::vector<Share> Shares(const RunView& run) {
  std::array<double, telemetry::kPhases> seconds{};
  double all = 0, claimed = 0;
  for (const telemetry::StepRecord& step : run.log.steps) {
    if (std::isfinite(step.ms)) all += step.ms / 1000;
    for (int i = 0; i < telemetry::kPhases; ++i)
      if (std::isfinite(step.phase_seconds[i])) seconds[i] += step.phase_seconds[i];
  }
  std::vector<Share> shares;
  for (int i = 0; i < telemetry::kPhases; ++i) {
    claimed += seconds[i];
    if (seconds[i] > 0) shares.push_back({telemetry::kPhaseNames[i], seconds[i], i});
  }
  if (!shares.empty() && all > claimed) shares.push_back({"other", all - claimed, telemetry::kPhases});
  return shares;
}

std::string PhaseFigure(const RunView& run) {
  const std::vector<Share> shares = Shares(run);
  double total = 0;
  for (const Share& share : shares) total += share.seconds;
  std::string out =
      "<figure class=\"chart wide\" id=\"phases\"><figcaption><h3>Time by phase</h3><p>Seconds of all logged steps, "
      "and "
      "the share of each phase.</p></figcaption>";
  if (shares.empty()) return out + "<p class=\"none\">Nothing in the log yet.</p></figure>";
  std::string bar =
      "<div class=\"scroll\"><svg class=\"stack\" role=\"img\" viewBox=\"0 0 1080 34\" aria-label=\"Time by phase, "
      "listed below\">";
  std::string rows;
  double x = 0;
  for (const Share& share : shares) {
    const double width = 1080 * share.seconds / total;
    bar += fmt::format(
        "<rect class=\"fill c{}\" x=\"{:.1f}\" y=\"0\" width=\"{:.1f}\" height=\"34\"><title>{} {}</title></rect>",
        share.colour, x, width, share.name, Percent(share.seconds / total));
    if (width > 90)
      bar += fmt::format("<text class=\"onfill\" x=\"{:.1f}\" y=\"22\" text-anchor=\"middle\">{}</text>", x + width / 2,
                         share.name);
    x += width;
    rows += fmt::format(
        "<tr><th scope=\"row\"><span class=\"swatch c{}\"></span>{}</th><td>{}</td><td>{}</td><td>{:.2f} ms</td></tr>",
        share.colour, share.name, telemetry::DurationText(share.seconds), Percent(share.seconds / total),
        1000 * share.seconds / static_cast<double>(run.log.steps.size()));
  }
  return out + bar +
         "</svg></div><table class=\"numbers\"><thead><tr><th>phase</th><th>time</th><th>share</th><th>a "
         "step</th></tr></thead><tbody>" +
         rows + "</tbody></table></figure>";
}

}  // namespace

std::string SpeedSection(const RunView& run) {
  const size_t window = MeanWindow(run);
  const std::string mean = fmt::format("mean of {} steps", window);
  const auto smooth = [&](const auto& value) { return RunningMean(Curve(run, value), window); };
  Chart throughput;
  throughput.id = "throughput";
  throughput.title = "Throughput";
  throughput.about = "Tokens a second, " + mean + ".";
  throughput.y_unit = "tokens/s";
  throughput.scale = Scale::kLinear;
  throughput.zero = true;
  throughput.series = {{"tokens a second", Look::kLine, 0, smooth([](const auto& s) { return s.tokens_per_second; })}};
  throughput.marks = Events(run);

  Chart time;
  time.id = "steptime";
  time.title = "Time of a step";
  time.about = "Milliseconds; the thin line is every step.";
  time.y_unit = "ms";
  const std::vector<Point> ms = Curve(run, [](const auto& s) { return s.ms; });
  time.series = {{"each step", Look::kFaint, 1, ms}, {mean, Look::kLine, 1, RunningMean(ms, window)}};
  time.zero = true;

  Chart peak;
  peak.id = "peak";
  peak.title = "Share of the speed of light";
  peak.about = "Percent of what the machine was measured to do at best.";
  peak.y_unit = "percent";
  peak.scale = Scale::kLinear;
  peak.zero = true;
  peak.series = {{"percent of peak", Look::kLine, 2, smooth([](const auto& s) { return s.percent_of_peak; })}};

  Chart phases;
  phases.id = "phasetimes";
  phases.title = "Phases of a step";
  phases.about = "Milliseconds of each phase, " + mean + ".";
  phases.y_unit = "ms";
  phases.zero = true;
  for (const Share& share : Shares(run)) {
    if (share.colour == telemetry::kPhases) continue;
    phases.series.push_back({share.name, Look::kLine, share.colour,
                             smooth([&](const auto& s) { return 1000 * s.phase_seconds[share.colour]; })});
  }
  return Section("speed", "Speed",
                 "<div class=\"charts\">" + Render(throughput) + Render(time) + Render(peak) + Render(phases) +
                     PhaseFigure(run) + "</div>");
}

}  // namespace filigree::report
