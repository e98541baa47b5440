#ifndef FILIGREE_WORKER_BENCH_PRINT_H_
#define FILIGREE_WORKER_BENCH_PRINT_H_

#include <string>

#include "worker/bench/measure.h"

namespace filigree::bench {

// One JSON object a result and line (docs/formats/bench.md): bench, variant, dtype, the sizes, threads, repeats, clock;
// median_ms, min_ms, flops, bytes, gflops, gbps, gbps_per_thread, flops_per_byte, roofline_ms, percent_of_peak, bound;
// baseline, baseline_median_ms, baseline_min_ms and speedup where there is one; cpu, simd, and the machine's own rates
// as peak_*.
std::string FormatJson(const Report& report);

// The same for people: the machine, then a table.
std::string FormatTable(const Report& report);

// What every line says of the machine.
nlohmann::ordered_json MachineJson(const machine::Machine& machine);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_PRINT_H_
