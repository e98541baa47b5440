#include "worker/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "worker/report/html.h"

// What several parts of the page share.

namespace filigree::report {

std::string Section(const std::string& id, const std::string& heading, const std::string& body) {
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-heading\"><h2 id=\"{0}-heading\">{1}</h2>{2}</section>\n", id,
      Escape(heading), body);
}

std::vector<Point> Curve(const RunView& run, const std::function<double(const telemetry::StepRecord&)>& value) {
  std::vector<Point> points;
  points.reserve(run.log.steps.size());
  for (const telemetry::StepRecord& step : run.log.steps)
    points.push_back({static_cast<double>(step.step), value(step)});
  return points;
}

size_t MeanWindow(const RunView& run) { return std::clamp<size_t>(run.log.steps.size() / 50, 5, 500); }

std::vector<Mark> Events(const RunView& run) {
  std::vector<Mark> marks;
  if (run.settings && run.settings->sparsity.anneal_shape != config::AnnealShape::kConstant)
    marks.push_back({"anneal ends", run.settings->sparsity.anneal_end * static_cast<double>(run.settings->run.steps)});
  for (const telemetry::RunRecord& start : run.log.runs)
    if (start.step > 0) marks.push_back({"resumed", static_cast<double>(start.step)});
  return marks;
}

std::vector<telemetry::NamedValue> Baselines(const RunView& run) {
  for (auto eval = run.log.evals.rbegin(); eval != run.log.evals.rend(); ++eval)
    if (!eval->baselines.empty()) return eval->baselines;
  for (auto start = run.log.runs.rbegin(); start != run.log.runs.rend(); ++start)
    if (!start->baselines.empty()) return start->baselines;
  return {};
}

bool IsEmbedding(const std::string& kind) { return kind == "wte" || kind == "lm_head"; }

double ActualDensity(const telemetry::SnapshotRecord& snapshot, bool embeddings) {
  double nnz = 0, numel = 0;
  for (const telemetry::MatrixSnapshot& m : snapshot.matrices) {
    if (IsEmbedding(m.kind) != embeddings) continue;
    nnz += static_cast<double>(m.nnz);
    numel += static_cast<double>(m.numel);
  }
  return numel > 0 ? nnz / numel : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace filigree::report
