#include <fmt/format.h>

#include "worker/report/html.h"
#include "worker/report/sections.h"

// Training loss, validation loss, and what needs no model.

namespace filigree::report {

std::string LossSection(const RunView& run) {
  const std::vector<Point> loss = Curve(run, [](const auto& s) { return s.loss; });
  std::vector<Point> validation, bits;
  for (const telemetry::EvalRecord& eval : run.log.evals) {
    validation.push_back({static_cast<double>(eval.step), eval.loss});
    bits.push_back({static_cast<double>(eval.step), eval.bits_per_byte});
  }
  const size_t window = MeanWindow(run);

  Chart chart;
  chart.id = "loss";
  chart.title = "Loss";
  chart.about = "Cross-entropy in nats a token; dashed lines: validation loss of what needs no model.";
  chart.y_unit = "nats a token";
  chart.wide = true;
  chart.series = {{"training loss of each step", Look::kFaint, 0, loss},
                  {fmt::format("mean of {} steps", window), Look::kLine, 0, RunningMean(loss, window)},
                  {"validation loss", Look::kDots, 1, validation}};
  for (const telemetry::NamedValue& b : Baselines(run)) chart.levels.push_back({b.name, b.value});
  chart.marks = Events(run);

  Chart score;
  score.id = "zscore";
  score.title = "Unusual losses";
  score.about = "z-score of each loss against the 128 before it; beyond 4 either way deserves a look.";
  score.y_unit = "standard deviations";
  score.scale = Scale::kLinear;
  score.series = {{"z-score", Look::kFaint, 2, Curve(run, [](const auto& s) { return s.z_score; })}};

  Chart bytes;
  bytes.id = "bits";
  bytes.title = "Bits a byte";
  bytes.about = "The same losses without the tokenizer: comparable between vocabularies.";
  bytes.y_unit = "bits a byte";
  const std::vector<Point> training = Curve(run, [](const auto& s) { return s.bits_per_byte; });
  bytes.series = {{"training", Look::kLine, 0, RunningMean(training, window)}, {"validation", Look::kDots, 1, bits}};

  return Section("losses", "Loss", "<div class=\"charts\">" + Render(chart) + Render(bytes) + Render(score) + "</div>");
}

}  // namespace filigree::report
