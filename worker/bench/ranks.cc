#include "worker/bench/ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "worker/bench/print.h"

namespace filigree::bench {
namespace {

double Rounded(double x) { return x == 0 ? 0 : std::stod(fmt::format("{:.4g}", x)); }

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// One repeat of one case: seconds of the slowest rank, bytes of this one.
struct Repeat {
  double seconds = 0;
  int64_t sent_bytes = 0;
};

absl::StatusOr<Repeat> RunOnce(comm::Communicator& ranks, const RankCase& c) {
  if (c.prepare) {
    if (absl::Status status = c.prepare(); !status.ok()) return status;
  }
  if (absl::Status status = ranks.Barrier(); !status.ok()) return status;
  const comm::Traffic before = ranks.traffic();
  const double start = Now();
  if (absl::Status status = c.work(); !status.ok()) return status;
  Repeat repeat{Now() - start, (ranks.traffic() - before).sent_bytes};
  absl::Status status = ranks.AllReduce(comm::ArrayOf(std::span<double>(&repeat.seconds, 1)), comm::ReduceOp::kMax);
  if (!status.ok()) return status;
  return repeat;
}

}  // namespace

absl::StatusOr<std::vector<RankResult>> MeasureRanks(comm::Communicator& ranks, const std::vector<RankCase>& cases,
                                                     int warm, int repeats) {
  std::vector<std::vector<double>> seconds(cases.size());
  std::vector<RankResult> results(cases.size());
  for (int round = 0; round < warm + repeats; ++round) {
    for (size_t i = 0; i < cases.size(); ++i) {
      const absl::StatusOr<Repeat> repeat = RunOnce(ranks, cases[i]);
      if (!repeat.ok()) return repeat.status();
      if (round >= warm) seconds[i].push_back(repeat->seconds);
      results[i].sent_bytes = repeat->sent_bytes;  // of the last one: what depends on data has settled
    }
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    RankResult& result = results[i];
    result.variant = cases[i].variant;
    result.time = {Median(seconds[i]), *std::min_element(seconds[i].begin(), seconds[i].end())};
    int64_t most = result.sent_bytes;
    result.total_bytes = result.sent_bytes;
    absl::Status status = ranks.AllReduce(comm::ArrayOf(std::span<int64_t>(&most, 1)), comm::ReduceOp::kMax);
    if (status.ok()) {
      status = ranks.AllReduce(comm::ArrayOf(std::span<int64_t>(&result.total_bytes, 1)), comm::ReduceOp::kSum);
    }
    if (!status.ok()) return status;
    result.sent_bytes = most;
  }
  return results;
}

RankReport ReportOf(const std::string& bench, comm::Communicator& ranks, const machine::Machine& machine, int repeats,
                    std::vector<RankResult> results) {
  std::set<std::string> hosts;
  for (int r = 0; r < ranks.size(); ++r) hosts.insert(ranks.host(r));
  RankReport report;
  report.bench = bench;
  report.repeats = repeats;
  report.ranks = ranks.size();
  report.hosts = static_cast<int>(hosts.size());
  report.backend = ranks.backend();
  report.machine = machine;
  report.results = std::move(results);
  return report;
}

std::string FormatJson(const RankReport& report) {
  std::string text;
  for (const RankResult& result : report.results) {
    nlohmann::ordered_json line;
    line["bench"] = report.bench;
    line["variant"] = result.variant;
    line.update(report.sizes);
    line["ranks"] = report.ranks;
    line["hosts"] = report.hosts;
    line["backend"] = report.backend;
    line["threads"] = report.machine.threads;
    line["repeats"] = report.repeats;
    line["median_ms"] = Rounded(1e3 * result.time.median);
    line["min_ms"] = Rounded(1e3 * result.time.min);
    line["sent_bytes"] = result.sent_bytes;
    line["total_bytes"] = result.total_bytes;
    line["gbps"] = Rounded(1e-9 * static_cast<double>(result.sent_bytes) / result.time.median);
    line.update(result.more);
    line.update(MachineJson(report.machine));
    text += line.dump() + "\n";
  }
  return text;
}

std::string FormatTable(const RankReport& report) {
  std::string text = report.machine.Describe() + "\n";
  text += fmt::format("{} ranks over {} on {} hosts; repeats {}\n{}", report.ranks, report.backend, report.hosts,
                      report.repeats, report.bench);
  for (const auto& [key, value] : report.sizes.items()) text += fmt::format("  {} {}", key, value.dump());
  text += fmt::format("\n{:<34} {:>10} {:>10} {:>14} {:>9}\n", "variant", "median ms", "min ms", "bytes sent", "GB/s");
  for (const RankResult& r : report.results) {
    text += fmt::format("{:<34} {:>10.4g} {:>10.4g} {:>14} {:>9.3g}", r.variant, 1e3 * r.time.median, 1e3 * r.time.min,
                        r.sent_bytes, 1e-9 * static_cast<double>(r.sent_bytes) / r.time.median);
    for (const auto& [key, value] : r.more.items()) text += fmt::format("  {} {}", key, value.dump());
    text += "\n";
  }
  return text;
}

}  // namespace filigree::bench
