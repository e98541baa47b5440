#ifndef FILIGREE_WORKER_PROFILE_KERNEL_TIMES_H_
#define FILIGREE_WORKER_PROFILE_KERNEL_TIMES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/trace.h"
#include "worker/machine/machine.h"

// From spans to a table: where the time of the threads went, and how much of it the measured machine would need.

namespace filigree::train {

// All calls of one kernel. Seconds are those of threads: two threads that work for one second are two. Time is that on
// a core; when other programs have theirs the clock goes on, which is no merit or fault of a kernel's.
struct KernelTime {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;           // on a core
  double off_core_seconds = 0;  // in the kernel by the clock, but not on a core
  double flops = 0, bytes = 0;
  double least_seconds = 0;  // at the roofline, call by call
  std::string bound;         // what most of these are spent on: "arithmetic", "l2" or "memory"

  double percent_of_roofline() const { return seconds > 0 ? 100 * least_seconds / seconds : 0; }
};

// The least seconds of threads that the work can take while all threads of the machine are as busy: each has its share
// of the arithmetic and of the memory, and the L2 of its core (or its share of that).
struct Roofline {
  double arithmetic = 0, transfer = 0;

  double seconds() const { return arithmetic > transfer ? arithmetic : transfer; }
};
Roofline LeastThreadSeconds(const kernels::TraceWork& work, const machine::Machine& machine);

// By name, those that took longest first. A span inside another of its thread counts with the outer one alone.
std::vector<KernelTime> SumKernels(const std::vector<kernels::ThreadTrace>& trace, const machine::Machine& machine);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_PROFILE_KERNEL_TIMES_H_
