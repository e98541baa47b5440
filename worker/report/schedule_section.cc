#include <fmt/format.h>

#include <map>

#include "worker/report/html.h"
#include "worker/report/sections.h"

// Density, learning rate and gradient norm over the run.

namespace filigree::report {
namespace {

// Nonzeros of the steps where they were counted, over the sizes that the snapshots name.
std::vector<Point> CountedDensity(const RunView& run, bool embeddings) {
  std::map<std::string, const telemetry::MatrixSnapshot*> matrices;
  for (const telemetry::SnapshotRecord& snapshot : run.log.snapshots)
    for (const telemetry::MatrixSnapshot& m : snapshot.matrices) matrices[m.name] = &m;
  std::vector<Point> points;
  for (const telemetry::StepRecord& step : run.log.steps) {
    double nnz = 0, numel = 0;
    for (const telemetry::NamedCount& count : step.nnz) {
      const auto m = matrices.find(count.name);
      if (m == matrices.end() || IsEmbedding(m->second->kind) != embeddings) continue;
      nnz += static_cast<double>(count.count);
      numel += static_cast<double>(m->second->numel);
    }
    if (numel > 0) points.push_back({static_cast<double>(step.step), nnz / numel});
  }
  if (!points.empty()) return points;
  for (const telemetry::SnapshotRecord& snapshot : run.log.snapshots)
    points.push_back({static_cast<double>(snapshot.step), ActualDensity(snapshot, embeddings)});
  return points;
}

}  // namespace

std::string ScheduleSection(const RunView& run) {
  Chart density;
  density.id = "density";
  density.title = "Density";
  density.about = "Share of weights that are not zero: what each step asked for, and what was counted.";
  density.scale = Scale::kDensity;
  const std::vector<Point> matrices = CountedDensity(run, false), embeddings = CountedDensity(run, true);
  const auto look = [](const std::vector<Point>& points) { return points.size() < 60 ? Look::kPoints : Look::kDashed; };
  density.series = {
      {"matrices, target", Look::kLine, 0, Curve(run, [](const auto& s) { return s.density; })},
      {"matrices, actual", look(matrices), 3, matrices},
      {"embeddings, target", Look::kLine, 1, Curve(run, [](const auto& s) { return s.embedding_density; })},
      {"embeddings, actual", look(embeddings), 4, embeddings}};
  density.marks = Events(run);

  Chart lr;
  lr.id = "lr";
  lr.title = "Learning rate";
  lr.about = "Warmup, decay, and the factor that ties it to the density.";
  lr.scale = Scale::kLinear;
  lr.zero = true;
  lr.series = {{"learning rate", Look::kLine, 2, Curve(run, [](const auto& s) { return s.lr; })}};
  lr.marks = Events(run);

  Chart gradient;
  gradient.id = "gradient";
  gradient.title = "Gradient norm";
  gradient.about = "L2 norm of the whole gradient before it is divided, and its root mean square.";
  gradient.scale = Scale::kLog;
  const size_t window = MeanWindow(run);
  const std::vector<Point> norm = Curve(run, [](const auto& s) { return s.gradient_norm; });
  gradient.series = {{"norm", Look::kFaint, 3, norm},
                     {fmt::format("mean of {} steps", window), Look::kLine, 3, RunningMean(norm, window)},
                     {"root mean square", Look::kLine, 2,
                      RunningMean(Curve(run, [](const auto& s) { return s.gradient_rms; }), window)}};

  Chart epochs;
  epochs.id = "epochs";
  epochs.title = "Epochs";
  epochs.about = "Passes over the training part.";
  epochs.scale = Scale::kLinear;
  epochs.zero = true;
  epochs.series = {{"epochs", Look::kLine, 4, Curve(run, [](const auto& s) { return s.epochs; })}};

  return Section(
      "schedules", "Schedules",
      "<div class=\"charts\">" + Render(density) + Render(lr) + Render(gradient) + Render(epochs) + "</div>");
}

}  // namespace filigree::report
