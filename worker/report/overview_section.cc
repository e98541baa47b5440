#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/report/html.h"
#include "worker/report/sections.h"
#include "worker/telemetry/display.h"

// The state of the run, its key figures, and the facts it began with.

namespace filigree::report {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

int64_t Completed(const RunView& run) {
  int64_t completed = 0;
  if (!run.log.steps.empty()) completed = run.log.steps.back().step + 1;
  if (!run.log.runs.empty()) completed = std::max(completed, run.log.runs.back().step);
  return completed;
}

int64_t Planned(const RunView& run) {
  if (!run.log.runs.empty()) return run.log.runs.back().steps;
  return run.settings ? run.settings->run.steps : 0;
}

// A log cannot say that a process is alive: without an end the run goes on or was cut off.
std::string State(const RunView& run) {
  const telemetry::RunLog& log = run.log;
  if (log.runs.empty() && log.steps.empty()) return "not started";
  const bool ended = !log.ends.empty() && log.ends.back().step >= Completed(run) &&
                     (log.ends.size() >= log.runs.size() || log.runs.back().step < log.ends.back().step);
  return ended ? log.ends.back().reason : "running, or cut off";
}

struct Tile {
  std::string name, value, note;  // plain text
};

std::string Tiles(const std::vector<Tile>& tiles) {
  std::string out = "<dl class=\"tiles\">";
  for (const Tile& t : tiles)
    out += fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", Escape(t.name), Escape(t.value),
                       Escape(t.note));
  return out + "</dl>";
}

// Losses stand beside each other: all with the same places, also where the last ones are 0.
std::string Nats(double loss) { return std::isfinite(loss) ? fmt::format("{:.3f}", loss) : Number(loss); }

Tile Validation(const RunView& run) {
  if (run.log.evals.empty()) return {"validation loss", "-", "not evaluated yet"};
  const telemetry::EvalRecord& last = run.log.evals.back();
  Tile tile{"validation loss", Nats(last.loss), fmt::format("nats a token after {} steps", Count(last.step))};
  // Against the best of what needs no model.
  double best = std::numeric_limits<double>::infinity();
  std::string name;
  for (const telemetry::NamedValue& b : Baselines(run))
    if (b.value < best) {
      best = b.value;
      name = b.name;
    }
  if (std::isfinite(best) && std::isfinite(last.loss))
    tile.note = fmt::format("{} {} {} ({})", Nats(std::abs(last.loss - best)), last.loss < best ? "below" : "above",
                            name, Nats(best));
  return tile;
}

Tile MeanLoss(const RunView& run) {
  constexpr size_t kLast = 50;
  const std::vector<Point> mean = RunningMean(Curve(run, [](const auto& s) { return s.loss; }), kLast);
  return {"training loss", mean.empty() ? "-" : Nats(mean.back().y), "mean of the last 50 steps"};
}

Tile DensityTile(const RunView& run) {
  if (!run.log.snapshots.empty()) {
    const telemetry::SnapshotRecord& last = run.log.snapshots.back();
    int64_t nnz = 0;
    for (const telemetry::MatrixSnapshot& m : last.matrices) nnz += m.nnz;
    return {"density of matrices", Density(ActualDensity(last, false)), fmt::format("{} nonzeros in all", Count(nnz))};
  }
  if (run.log.steps.empty()) return {"density of matrices", "-", ""};
  return {"density of matrices", Density(run.log.steps.back().density), "target of the last step"};
}

Tile Speed(const RunView& run) {
  std::vector<double> speeds;
  double peak = 0, seconds = 0;
  for (const telemetry::StepRecord& s : run.log.steps) {
    if (std::isfinite(s.tokens_per_second)) speeds.push_back(s.tokens_per_second);
    if (std::isfinite(s.percent_of_peak)) peak = s.percent_of_peak;
    if (std::isfinite(s.ms)) seconds += s.ms / 1000;
  }
  if (speeds.empty()) return {"tokens a second", "-", ""};
  std::nth_element(speeds.begin(), speeds.begin() + static_cast<int64_t>(speeds.size() / 2), speeds.end());
  return {"tokens a second", ShortNumber(speeds[speeds.size() / 2]),
          fmt::format("median; {}% of peak at last; {} of steps", Number(peak), telemetry::DurationText(seconds))};
}

Tile Tokens(const RunView& run) {
  const double per_step = run.log.runs.empty() ? kNan : static_cast<double>(run.log.runs.back().tokens_per_step);
  const double epochs = run.log.steps.empty() ? kNan : run.log.steps.back().epochs;
  return {"tokens seen", ShortNumber(per_step * static_cast<double>(Completed(run))),
          fmt::format("{} epochs", Number(epochs))};
}

Tile Checkpoints(const RunView& run) {
  double stall = 0, training = 0;
  for (const telemetry::CheckpointRecord& c : run.log.checkpoints)
    if (std::isfinite(c.seconds)) stall += c.seconds;
  for (const telemetry::StepRecord& s : run.log.steps)
    if (std::isfinite(s.ms)) training += s.ms / 1000;
  return {"checkpoints", Count(static_cast<int64_t>(run.log.checkpoints.size())),
          training > 0 ? fmt::format("training stood still for {} of its time", Percent(stall / training)) : ""};
}

std::string Facts(const RunView& run) {
  std::string out = "<details open><summary>Facts</summary><dl class=\"facts\">";
  const auto add = [&](const std::string& name, const std::string& text) {
    constexpr size_t kLongest = 1000;
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", Escape(name.substr(0, kLongest)),
                       Escape(text.substr(0, kLongest)));
  };
  add("folder", run.dir);
  if (!run.log.runs.empty()) {
    const telemetry::RunRecord& first = run.log.runs.front();
    constexpr size_t kMostFacts = 200;
    add("first start", telemetry::TimeText(first.started));
    add("starts", Count(static_cast<int64_t>(run.log.runs.size())));
    add("tokens a step", Count(first.tokens_per_step));
    const std::vector<telemetry::NamedText>& facts = run.log.runs.back().facts;
    for (size_t i = 0; i < std::min(facts.size(), kMostFacts); ++i) add(facts[i].name, facts[i].text);
  }
  if (run.log.damaged_lines > 0) add("damaged lines", Count(run.log.damaged_lines) + " of the log were left out");
  return out + "</dl></details>";
}

}  // namespace

std::string OverviewSection(const RunView& run) {
  const int64_t completed = Completed(run), planned = Planned(run);
  const double share =
      planned > 0 ? std::clamp(static_cast<double>(completed) / static_cast<double>(planned), 0.0, 1.0) : 0;
  std::string body;
  if (!run.warning.empty()) body += "<p class=\"warning\" role=\"note\">" + Escape(run.warning) + "</p>";
  body += fmt::format(
      "<p class=\"state\"><strong>{}</strong> <span>{} of {} steps</span></p><div class=\"progress\" role=\"img\" "
      "aria-label=\"{} done\">"
      "<span style=\"width:{:.1f}%\"></span></div>",
      Escape(State(run)), Count(completed), Count(planned), Percent(share), 100 * share);
  body += Tiles({Validation(run), MeanLoss(run), DensityTile(run), Tokens(run), Speed(run), Checkpoints(run)});
  return Section("overview", "Overview", body + Facts(run));
}

}  // namespace filigree::report
