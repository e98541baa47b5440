#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "worker/report/html.h"
#include "worker/report/sections.h"

// Histograms of weight magnitudes, one a kind of matrix: the last snapshot, and the first one as an outline.

namespace filigree::report {
namespace {

using Bins = std::array<double, telemetry::kMagnitudeBins>;

struct Histogram {
  std::string kind;
  Bins shares{};  // of the nonzeros of this kind
  double nonzeros = 0;
};

std::vector<Histogram> Histograms(const telemetry::SnapshotRecord& snapshot) {
  std::vector<Histogram> all;
  for (const telemetry::MatrixSnapshot& m : snapshot.matrices) {
    auto h = std::find_if(all.begin(), all.end(), [&](const Histogram& x) { return x.kind == m.kind; });
    if (h == all.end()) {
      all.emplace_back();
      h = all.end() - 1;
      h->kind = m.kind;
    }
    for (int i = 0; i < telemetry::kMagnitudeBins; ++i) {
      h->shares[i] += static_cast<double>(m.magnitudes[i]);
      h->nonzeros += static_cast<double>(m.magnitudes[i]);
    }
  }
  for (Histogram& h : all)
    if (h.nonzeros > 0)
      for (double& share : h.shares) share /= h.nonzeros;
  return all;
}

// Bins [first, last] that any histogram uses, at least a few.
std::pair<int, int> Used(const std::vector<Histogram>& a, const std::vector<Histogram>& b) {
  int first = telemetry::kMagnitudeBins, last = -1;
  for (const auto* list : {&a, &b})
    for (const Histogram& h : *list)
      for (int i = 0; i < telemetry::kMagnitudeBins; ++i)
        if (h.shares[i] > 5e-4) {
          first = std::min(first, i);
          last = std::max(last, i);
        }
  return {std::max(0, std::min(first, last - 6)), std::min(telemetry::kMagnitudeBins - 1, std::max(last, first + 6))};
}

std::string BinLabel(int bin) {
  if (bin == 0) return fmt::format("below 2^{}", telemetry::kMagnitudeLowExponent);
  return Number(telemetry::MagnitudeBinEdge(bin));
}

std::string Figure(const Histogram& now, const Histogram* then, int colour, std::pair<int, int> used) {
  constexpr double kWidth = 340, kBottom = 128, kTop = 8, kLeft = 16;
  const auto [first, last] = used;
  const double bar = (kWidth - 2 * kLeft) / (last - first + 1);
  double highest = 1e-9;
  for (int i = first; i <= last; ++i)
    highest = std::max({highest, now.shares[i], then != nullptr ? then->shares[i] : 0});
  const auto y = [&](double share) { return kBottom - share / highest * (kBottom - kTop); };
  std::string bars, outline;
  for (int i = first; i <= last; ++i) {
    const double x = kLeft + (i - first) * bar;
    bars += fmt::format(
        "<rect class=\"fill c{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>from {}: {} of "
        "the nonzeros</title></rect>",
        colour, x, y(now.shares[i]), std::max(bar - 1, 0.5), kBottom - y(now.shares[i]), BinLabel(i),
        Percent(now.shares[i]));
    if (then != nullptr)
      outline += fmt::format("{}{:.1f} {:.1f}L{:.1f} {:.1f}", outline.empty() ? "M" : "L", x, y(then->shares[i]),
                             x + bar, y(then->shares[i]));
  }
  std::string ticks;
  const int stride = std::max(2, (last - first) / 8 * 2);
  for (int i = std::max(first, 1); i <= last; ++i) {
    if ((i - 1) % stride != 0) continue;
    const double x = kLeft + (i - first) * bar;
    ticks += fmt::format(
        "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text class=\"tick\" "
        "text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3}\">2<tspan dy=\"-4\" font-size=\"8\">{4}</tspan></text>",
        x, kBottom, kBottom + 4, kBottom + 17, telemetry::kMagnitudeLowExponent + (i - 1) / 2);
  }
  return fmt::format(
      "<figure class=\"small\"><figcaption><h3>{0}</h3><p>{1} nonzeros</p></figcaption><svg role=\"img\" viewBox=\"0 0 "
      "{2} {3}\" "
      "aria-label=\"Histogram of the magnitudes of {0}\">{4}<path class=\"line outline\" d=\"{5}\"/>"
      "<line class=\"axis\" x1=\"0\" x2=\"{2}\" y1=\"{6}\" y2=\"{6}\"/>{7}</svg></figure>",
      Escape(now.kind), Count(static_cast<int64_t>(now.nonzeros)), kWidth, kBottom + 22, bars, outline, kBottom, ticks);
}

}  // namespace

std::string MagnitudeSection(const RunView& run) {
  constexpr size_t kMostKinds = 12;
  if (run.log.snapshots.empty())
    return Section("magnitudes", "Weight magnitudes", "<p class=\"none\">No snapshot in the log yet.</p>");
  const telemetry::SnapshotRecord &start = run.log.snapshots.front(), &end = run.log.snapshots.back();
  const std::vector<Histogram> before = Histograms(start), after = Histograms(end);
  const auto used = Used(before, after);
  std::string body = fmt::format(
      "<p>Share of the nonzeros of each kind in half octaves of |w|, after {} steps{}.</p><div class=\"smalls\">",
      end.step, start.step < end.step ? fmt::format("; the outline: after {}", start.step) : "");
  for (size_t k = 0; k < std::min(after.size(), kMostKinds); ++k) {
    const auto then =
        std::find_if(before.begin(), before.end(), [&](const Histogram& h) { return h.kind == after[k].kind; });
    body += Figure(after[k], then == before.end() || start.step == end.step ? nullptr : &*then, static_cast<int>(k % 8),
                   used);
  }
  return Section("magnitudes", "Weight magnitudes", body + "</div>");
}

}  // namespace filigree::report
