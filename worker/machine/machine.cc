#include "worker/machine/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "kernels/base/buffer.h"
#include "kernels/base/simd.h"
#include "worker/machine/clock.h"
#include "worker/machine/probe.h"

namespace filigree::machine {
namespace {

constexpr int kRepeats = 4;
constexpr double kMiB = 1 << 20;

// Whole blocks of what ReadOnce takes.
size_t WholeFloats(double bytes) { return static_cast<size_t>(bytes / sizeof(float)) / 256 * 256; }

// The highest rate of several runs on this thread; `work` returns how much it did.
double BestOnOneCore(const std::function<double()>& work) {
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) {
    const double start = ThreadCpuSeconds();
    const double done = work();
    best = std::max(best, done / (ThreadCpuSeconds() - start));
  }
  return best;
}

// The same with work(thread) on all threads at once, each by its own clock. They wait for each other first, so that
// each takes exactly one task; threads that have no core of their own share one.
double BestOnAllThreads(kernels::ThreadPool& pool, int cores, const std::function<double(int)>& work) {
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) {
    std::atomic<int> arrived{0};
    std::atomic<double> rate{0};
    pool.Run(pool.threads(), [&](int64_t task, int) {
      ++arrived;
      while (arrived < pool.threads()) std::this_thread::yield();
      const double start = ThreadCpuSeconds();
      const double done = work(static_cast<int>(task));
      rate += done / (ThreadCpuSeconds() - start);
    });
    best = std::max(best, rate.load());
  }
  return best * std::min(1.0, static_cast<double>(cores) / pool.threads());
}

void MeasureArithmetic(kernels::ThreadPool& pool, Machine& machine) {
  constexpr int64_t kRounds = 1 << 20;
  const auto run = [](int) {
    float sink = 0;
    return MultiplyAdd(kRounds, &sink);
  };
  machine.core_gflops = 1e-9 * BestOnOneCore([&] { return run(0); });
  machine.all_gflops = 1e-9 * BestOnAllThreads(pool, machine.processor.cores, run);
}

void MeasureL2(Machine& machine) {
  constexpr int kPasses = 400;
  const int64_t l2 = machine.processor.l2_bytes > 0 ? machine.processor.l2_bytes : 1 << 20;
  const kernels::Buffer<float> data(WholeFloats(static_cast<double>(std::clamp<int64_t>(l2, 1 << 18, 1 << 22)) / 2));
  machine.core_l2_gbps = 1e-9 * BestOnOneCore([&] {
                           float sink = 0;
                           for (int i = 0; i < kPasses; ++i) ReadOnce(data.data(), data.size(), &sink);
                           return static_cast<double>(kPasses * data.size() * sizeof(float));
                         });
}

void MeasureMemory(kernels::ThreadPool& pool, Machine& machine) {
  const double bytes = std::clamp(4.0 * static_cast<double>(machine.processor.l3_bytes), 64 * kMiB, 512 * kMiB);
  const size_t share = WholeFloats(bytes / pool.threads());
  kernels::Buffer<float> data(share * pool.threads());
  // Pages never written are all one page of zeros, which the cache holds.
  pool.Run(pool.threads(),
           [&](int64_t task, int) { std::fill_n(data.data() + task * share, share, static_cast<float>(task + 1)); });
  const auto read = [&](int thread) {
    float sink = 0;
    ReadOnce(data.data() + thread * share, share, &sink);
    return static_cast<double>(share * sizeof(float));
  };
  machine.core_dram_gbps = 1e-9 * BestOnOneCore([&] {
                             double total = 0;
                             for (int i = 0; i < pool.threads(); ++i) total += read(i);
                             return total;
                           });
  machine.all_dram_gbps = 1e-9 * BestOnAllThreads(pool, machine.processor.cores, read);
  const auto update = [&](int thread) {
    UpdateOnce(data.data() + thread * share, share);
    return 2.0 * static_cast<double>(share * sizeof(float));
  };
  machine.core_update_gbps = 1e-9 * BestOnOneCore([&] {
                               double total = 0;
                               for (int i = 0; i < pool.threads(); ++i) total += update(i);
                               return total;
                             });
  machine.all_update_gbps = 1e-9 * BestOnAllThreads(pool, machine.processor.cores, update);
}

}  // namespace

double Machine::SecondsAtBest(double flops, double memory_bytes) const {
  return std::max(flops / (1e9 * all_gflops), memory_bytes / (1e9 * std::max(all_dram_gbps, all_update_gbps)));
}

std::string Machine::Describe() const {
  return fmt::format(
      "{}, {} thread{}, {}; fp32 {:.0f} GFLOP/s a core, {:.0f} in all; L2 {:.0f} GB/s a core; memory {:.1f} GB/s a "
      "core, {:.1f} in all",
      processor.model, threads, threads == 1 ? "" : "s", simd, core_gflops, all_gflops, core_l2_gbps, core_dram_gbps,
      all_dram_gbps);
}

Machine MeasureMachine(kernels::ThreadPool& pool) {
  Machine machine;
  machine.processor = DescribeProcessor();
  machine.simd = kernels::SimdTargetName();
  machine.threads = pool.threads();
  MeasureArithmetic(pool, machine);
  MeasureL2(machine);
  MeasureMemory(pool, machine);
  return machine;
}

}  // namespace filigree::machine
