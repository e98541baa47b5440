#include "worker/profile/kernel_times.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace filigree::train {
namespace {

// What bounds a kernel: seconds at the roofline by what they are spent on.
struct Sum {
  KernelTime time;
  double arithmetic = 0, l2 = 0, memory = 0;

  std::string Bound() const {
    if (arithmetic >= std::max(l2, memory)) return "arithmetic";
    return l2 >= memory ? "l2" : "memory";
  }
};

void Add(const kernels::TraceEvent& event, const machine::Machine& machine, Sum& sum) {
  const Roofline least = LeastThreadSeconds(event.work, machine);
  sum.time.calls += 1;
  const int64_t off_core_ns = std::max<int64_t>(event.end_ns - event.start_ns - event.cpu_ns, 0);
  sum.time.seconds += 1e-9 * static_cast<double>(event.cpu_ns) * event.work.threads;
  sum.time.off_core_seconds += 1e-9 * static_cast<double>(off_core_ns) * event.work.threads;
  sum.time.flops += event.work.flops;
  sum.time.bytes += event.work.bytes;
  sum.time.least_seconds += least.seconds();
  double& spent = least.arithmetic >= least.transfer                ? sum.arithmetic
                  : event.work.level == kernels::TraceLevel::kCache ? sum.l2
                                                                    : sum.memory;
  spent += least.seconds();
}

}  // namespace

Roofline LeastThreadSeconds(const kernels::TraceWork& work, const machine::Machine& machine) {
  const double threads = machine.threads, cores = std::min(machine.threads, machine.processor.cores);
  const double arithmetic = machine.all_gflops / threads;
  const double transfer = work.level == kernels::TraceLevel::kCache
                              ? machine.core_l2_gbps * cores / threads
                              : std::max(machine.all_dram_gbps, machine.all_update_gbps) / threads;
  return {1e-9 * work.flops / arithmetic, 1e-9 * work.bytes / transfer};
}

std::vector<KernelTime> SumKernels(const std::vector<kernels::ThreadTrace>& trace, const machine::Machine& machine) {
  std::map<std::string, Sum> sums;
  for (const kernels::ThreadTrace& thread : trace) {
    // Backwards an outer span comes before those inside, which begin no earlier.
    int64_t outer_start = INT64_MAX;
    for (auto event = thread.events.rbegin(); event != thread.events.rend(); ++event) {
      if (event->end_ns > outer_start) continue;
      outer_start = event->start_ns;
      Add(*event, machine, sums[event->name]);
    }
  }
  std::vector<KernelTime> times;
  times.reserve(sums.size());
  for (auto& [name, sum] : sums) {
    sum.time.name = name;
    sum.time.bound = sum.Bound();
    times.push_back(std::move(sum.time));
  }
  std::stable_sort(times.begin(), times.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return times;
}

}  // namespace filigree::train
