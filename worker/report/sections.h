#ifndef FILIGREE_WORKER_REPORT_SECTIONS_H_
#define FILIGREE_WORKER_REPORT_SECTIONS_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "worker/report/chart.h"
#include "worker/report/report.h"

// The parts of the page, each as HTML.

namespace filigree::report {

std::string OverviewSection(const RunView& run);   // state, key figures, facts
std::string LossSection(const RunView& run);       // training, validation, baselines
std::string ScheduleSection(const RunView& run);   // density, learning rate, gradient norm
std::string SpeedSection(const RunView& run);      // throughput, time of a step, time by phase
std::string MatricesSection(const RunView& run);   // density and alive units a matrix
std::string MagnitudeSection(const RunView& run);  // histograms of |w|
std::string SampleSection(const RunView& run);
std::string EventSection(const RunView& run);   // starts, ends, checkpoints, notes
std::string ConfigSection(const RunView& run);  // the resolved settings

// <section id> with a heading.
std::string Section(const std::string& id, const std::string& heading, const std::string& body);

// A value of every step as a curve.
std::vector<Point> Curve(const RunView& run, const std::function<double(const telemetry::StepRecord&)>& value);

// How many steps a mean runs over: a fiftieth of what was trained, so that it follows a short run too.
size_t MeanWindow(const RunView& run);

// Where the run was resumed and where the anneal ends.
std::vector<Mark> Events(const RunView& run);

// Baselines of the last evaluation, or of the last start where there is none.
std::vector<telemetry::NamedValue> Baselines(const RunView& run);

// Whether f_w or f_e applies to matrices of this kind.
bool IsEmbedding(const std::string& kind);

// Nonzeros over elements of the matrices that f_w (or f_e) applies to; NaN where none are known.
double ActualDensity(const telemetry::SnapshotRecord& snapshot, bool embeddings);

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_SECTIONS_H_
