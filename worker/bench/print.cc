#include "worker/bench/print.h"

#include <fmt/format.h>

#include <cmath>

namespace filigree::bench {
namespace {

// Four digits say all that a timing knows.
double Rounded(double x) { return x == 0 ? 0 : std::stod(fmt::format("{:.4g}", x)); }

double Gigas(double amount, const Timing& time) { return 1e-9 * amount / time.median; }

nlohmann::ordered_json ResultJson(const Report& report, const Result& result) {
  nlohmann::ordered_json line;
  line["bench"] = report.bench;
  line["variant"] = result.variant;
  line["dtype"] = "fp32";
  line.update(report.sizes);
  line["threads"] = report.machine.threads;
  line["repeats"] = report.repeats;
  line["clock"] = report.machine.threads == 1 ? "cpu" : "wall";
  line["median_ms"] = Rounded(1e3 * result.time.median);
  line["min_ms"] = Rounded(1e3 * result.time.min);
  line["flops"] = result.flops;
  line["bytes"] = result.bytes;
  line["gflops"] = Rounded(Gigas(result.flops, result.time));
  line["gbps"] = Rounded(Gigas(result.bytes, result.time));
  line["gbps_per_thread"] = Rounded(Gigas(result.bytes, result.time) / report.machine.threads);
  line["flops_per_byte"] = Rounded(result.bytes > 0 ? result.flops / result.bytes : 0);
  line["roofline_ms"] = Rounded(1e3 * result.roofline);
  line["percent_of_peak"] = Rounded(result.percent_of_peak);
  line["bound"] = result.bound;
  if (!result.baseline.empty()) {
    line["baseline"] = result.baseline;
    line["baseline_median_ms"] = Rounded(1e3 * result.baseline_time.median);
    line["baseline_min_ms"] = Rounded(1e3 * result.baseline_time.min);
    line["speedup"] = Rounded(result.speedup);
  }
  line.update(MachineJson(report.machine));
  return line;
}

std::string SizesText(const nlohmann::ordered_json& sizes) {
  std::string text;
  for (const auto& [key, value] : sizes.items()) text += fmt::format("  {} {}", key, value.dump());
  return text;
}

}  // namespace

nlohmann::ordered_json MachineJson(const machine::Machine& machine) {
  nlohmann::ordered_json json;
  json["cpu"] = machine.processor.model;
  json["cores"] = machine.processor.cores;
  json["simd"] = machine.simd;
  json["peak_core_gflops"] = Rounded(machine.core_gflops);
  json["peak_gflops"] = Rounded(machine.all_gflops);
  json["peak_core_l2_gbps"] = Rounded(machine.core_l2_gbps);
  json["peak_core_memory_gbps"] = Rounded(machine.core_dram_gbps);
  json["peak_memory_gbps"] = Rounded(machine.all_dram_gbps);
  json["peak_core_update_gbps"] = Rounded(machine.core_update_gbps);
  json["peak_update_gbps"] = Rounded(machine.all_update_gbps);
  return json;
}

std::string FormatJson(const Report& report) {
  std::string text;
  for (const Result& result : report.results) text += ResultJson(report, result).dump() + "\n";
  return text;
}

std::string FormatTable(const Report& report) {
  std::string text = report.machine.Describe() + "\n";
  const Roof roof = RoofOf(report.machine);
  text += fmt::format(
      "roofline: {:.4g} GFLOP/s; {:.4g} GB/s of L2; {:.4g} GB/s of memory, {:.4g} where it is written back\n",
      roof.gflops, roof.l2_gbps, roof.memory_gbps, roof.both_ways_gbps);
  text += report.bench + SizesText(report.sizes) + fmt::format("  repeats {}\n", report.repeats);
  text += fmt::format("{:<26} {:>10} {:>10} {:>9} {:>9} {:>10} {:<11} {:>9}  {}\n", "variant", "median ms", "min ms",
                      "GFLOP/s", "GB/s", "% roofline", "bound by", "speed-up", "over");
  for (const Result& r : report.results) {
    text +=
        fmt::format("{:<26} {:>10.4g} {:>10.4g} {:>9.4g} {:>9.4g} {:>10.1f} {:<11} ", r.variant, 1e3 * r.time.median,
                    1e3 * r.time.min, Gigas(r.flops, r.time), Gigas(r.bytes, r.time), r.percent_of_peak, r.bound);
    text += r.baseline.empty() ? "\n" : fmt::format("{:>8.3g}x  {}\n", r.speedup, r.baseline);
  }
  return text;
}

}  // namespace filigree::bench
