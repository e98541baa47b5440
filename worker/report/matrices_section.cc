#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "worker/report/html.h"
#include "worker/report/sections.h"

// Every sparsified matrix at the last snapshot, and units that are alive over the run.

namespace filigree::report {
namespace {

constexpr size_t kMostRows = 1200;

using telemetry::MatrixSnapshot;

double Ratio(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : std::numeric_limits<double>::quiet_NaN();
}

// Kinds in the order of the log.
std::vector<std::string> Kinds(const telemetry::SnapshotRecord& snapshot) {
  std::vector<std::string> kinds;
  for (const MatrixSnapshot& m : snapshot.matrices)
    if (std::find(kinds.begin(), kinds.end(), m.kind) == kinds.end()) kinds.push_back(m.kind);
  return kinds;
}

std::string Cell(double shade, const std::string& text, const std::string& title) {
  return fmt::format("<td class=\"heat\" style=\"--v:{:.2f}\" title=\"{}\">{}</td>",
                     std::isfinite(shade) ? 0.55 * shade : 0.0, Escape(title), Escape(text));
}

// A grid of layers by kinds. `shade` gives 0..1.
template <typename Text, typename Shade>
std::string Grid(const telemetry::SnapshotRecord& snapshot, const std::string& id, const std::string& title,
                 const std::string& about, const Text& text, const Shade& shade) {
  std::map<int64_t, std::map<std::string, const MatrixSnapshot*>> rows;
  std::set<std::string> in_layers;
  for (const MatrixSnapshot& m : snapshot.matrices) {
    if (m.layer < 0) continue;
    rows[m.layer][m.kind] = &m;
    in_layers.insert(m.kind);
  }
  std::string out = fmt::format(
      "<figure class=\"chart\" id=\"{}\"><figcaption><h3>{}</h3><p>{}</p></figcaption><div class=\"scroll\">"
      "<table class=\"grid\"><thead><tr><th>layer</th>",
      id, title, about);
  std::vector<std::string> kinds = Kinds(snapshot);
  std::erase_if(kinds, [&](const std::string& kind) { return !in_layers.contains(kind); });
  for (const std::string& kind : kinds) out += "<th scope=\"col\">" + Escape(kind) + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& [layer, row] : rows) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", layer);
    for (const std::string& kind : kinds) {
      const auto m = row.find(kind);
      out += m == row.end() ? "<td></td>" : Cell(shade(*m->second), text(*m->second), m->second->name);
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div></figure>";
}

double DensityShade(const MatrixSnapshot& m) {
  const double density = Ratio(m.nnz, m.numel);
  return density > 0 ? std::clamp(1 + std::log2(density) / 12, 0.03, 1.0) : 0;
}

std::string Rows(const telemetry::SnapshotRecord& snapshot) {
  std::string out =
      "<div class=\"scroll\"><table class=\"numbers\" "
      "id=\"matrixtable\"><thead><tr><th>matrix</th><th>density</th><th>nonzeros</th>"
      "<th>of</th><th>alive units</th><th>of</th><th>smallest |w|</th></tr></thead><tbody>";
  for (size_t i = 0; i < std::min(snapshot.matrices.size(), kMostRows); ++i) {
    const MatrixSnapshot& m = snapshot.matrices[i];
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th>{}<td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td></tr>", Escape(m.name),
        Cell(DensityShade(m), Density(Ratio(m.nnz, m.numel)), Percent(Ratio(m.nnz, m.numel))), Count(m.nnz),
        Count(m.numel),
        Cell(Ratio(m.alive_units, m.units), Count(m.alive_units), Percent(Ratio(m.alive_units, m.units))),
        Count(m.units), Number(m.threshold));
  }
  out += "</tbody></table></div>";
  if (snapshot.matrices.size() > kMostRows)
    out += fmt::format("<p class=\"none\">{} more are left out.</p>", snapshot.matrices.size() - kMostRows);
  return out;
}

// Share of units with at least one nonzero, a curve for each kind.
Chart AliveChart(const RunView& run) {
  Chart chart;
  chart.id = "alive";
  chart.title = "Alive units";
  chart.about = "Percent of units (rows or columns of the min alive rule) with at least one nonzero.";
  chart.y_unit = "percent";
  chart.most = 100;
  chart.scale = Scale::kLinear;
  const std::vector<std::string> kinds = Kinds(run.log.snapshots.back());
  for (size_t k = 0; k < std::min<size_t>(kinds.size(), 8); ++k) {
    Series series{kinds[k], Look::kDots, static_cast<int>(k), {}};
    for (const telemetry::SnapshotRecord& snapshot : run.log.snapshots) {
      int64_t alive = 0, units = 0;
      for (const MatrixSnapshot& m : snapshot.matrices) {
        if (m.kind != kinds[k]) continue;
        alive += m.alive_units;
        units += m.units;
      }
      series.points.push_back({static_cast<double>(snapshot.step), 100 * Ratio(alive, units)});
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

// The smallest magnitude that was kept: the mask's threshold, the mean of each kind.
Chart ThresholdChart(const RunView& run) {
  Chart chart;
  chart.id = "threshold";
  chart.title = "Smallest weight that stays";
  chart.about = "Magnitude of the smallest nonzero, mean over the matrices of a kind.";
  chart.scale = Scale::kLog;
  const std::vector<std::string> kinds = Kinds(run.log.snapshots.back());
  for (size_t k = 0; k < std::min<size_t>(kinds.size(), 8); ++k) {
    Series series{kinds[k], Look::kDots, static_cast<int>(k), {}};
    for (const telemetry::SnapshotRecord& snapshot : run.log.snapshots) {
      double sum = 0, n = 0;
      for (const MatrixSnapshot& m : snapshot.matrices) {
        if (m.kind != kinds[k] || !std::isfinite(m.threshold)) continue;
        sum += m.threshold;
        ++n;
      }
      series.points.push_back({static_cast<double>(snapshot.step), sum / n});
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

// Without a snapshot: the counts of the last step that has some.
std::string CountsOnly(const RunView& run) {
  for (auto step = run.log.steps.rbegin(); step != run.log.steps.rend(); ++step) {
    if (step->nnz.empty()) continue;
    std::string rows;
    for (size_t i = 0; i < std::min(step->nnz.size(), kMostRows); ++i)
      rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Escape(step->nnz[i].name),
                          Count(step->nnz[i].count));
    return fmt::format(
        "<p>After step {}; no snapshot in the log yet.</p><table class=\"numbers\" id=\"matrixtable\"><thead><tr>"
        "<th>matrix</th><th>nonzeros</th></tr></thead><tbody>{}</tbody></table>",
        step->step, rows);
  }
  return "<p class=\"none\">No snapshot in the log yet.</p>";
}

}  // namespace

std::string MatricesSection(const RunView& run) {
  if (run.log.snapshots.empty()) return Section("matrices", "Matrices", CountsOnly(run));
  const telemetry::SnapshotRecord& last = run.log.snapshots.back();
  const std::string density = Grid(
      last, "densitygrid", "Density by layer",
      fmt::format("Share of weights that are not zero after {} steps; the stronger the colour, the denser.", last.step),
      [](const MatrixSnapshot& m) { return Density(Ratio(m.nnz, m.numel)); }, DensityShade);
  const std::string alive = Grid(
      last, "alivegrid", "Alive units by layer",
      fmt::format("Share of units with a nonzero after {} steps; the stronger the colour, the more.", last.step),
      [](const MatrixSnapshot& m) { return Percent(Ratio(m.alive_units, m.units)); },
      [](const MatrixSnapshot& m) { return Ratio(m.alive_units, m.units); });
  return Section("matrices", "Matrices",
                 "<div class=\"charts\">" + density + alive + Render(AliveChart(run)) + Render(ThresholdChart(run)) +
                     "</div><details><summary>Every matrix</summary>" + Rows(last) + "</details>");
}

}  // namespace filigree::report
