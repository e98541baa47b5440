#ifndef FILIGREE_WORKER_MACHINE_MACHINE_H_
#define FILIGREE_WORKER_MACHINE_MACHINE_H_

#include <string>

#include "kernels/base/thread_pool.h"
#include "worker/machine/processor.h"

// The measured machine. Figures differ from day to day and from neighbour to neighbour, so they are taken in the run
// that uses them and stand beside its own.
//
//   arithmetic   fp32 fused multiply-adds in registers, 2 FLOPs each
//   l2 read      a buffer of half the L2 of a core, again and again
//   dram read    a buffer several times the L3, front to back
//   dram update  the same, written back in place; bytes read and bytes written both count
//
// "core" is one thread alone; "all" is every thread of the pool at once.

namespace filigree::machine {

struct Machine {
  Processor processor;
  std::string simd;  // "AVX-512" or "AVX2"
  int threads = 1;
  double core_gflops = 0, all_gflops = 0;
  double core_l2_gbps = 0;
  double core_dram_gbps = 0, all_dram_gbps = 0;
  double core_update_gbps = 0, all_update_gbps = 0;

  // The least time this machine could need for so many floating-point operations and bytes moved from and to memory, by
  // whichever of the two takes longer, on all threads.
  double SecondsAtBest(double flops, double memory_bytes) const;

  // "AMD EPYC, 2 threads, AVX-512, 250 GFLOP/s a core ..." for people.
  std::string Describe() const;
};

// Takes about 0.2 seconds and, while it runs, 4 times the L3 of memory (64 MiB to 512 MiB). Each figure is the best of
// several short runs by the threads' own clocks, so that other programs bend it little.
Machine MeasureMachine(kernels::ThreadPool& pool);

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_MACHINE_H_
