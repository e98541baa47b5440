#ifndef FILIGREE_WORKER_BENCH_MEASURE_H_
#define FILIGREE_WORKER_BENCH_MEASURE_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "worker/machine/machine.h"

// How things are timed: all cases of a benchmark in turn, again and again, so that whatever the machine does in between
// falls on all of them alike; then medians, and the median of the ratios of neighbours. One thread is timed by its own
// clock, several by the wall's.

namespace filigree::bench {

// Where the bytes of a case lie before it runs, and whether most of them are written back: then both ways count.
enum class Level { kL2, kMemory, kMemoryBothWays };

// One thing to time.
struct Case {
  std::string variant;
  std::function<void()> work;  // one call, on as many threads as the benchmark has
  double flops = 0;            // of one call
  double bytes = 0;            // of one call: what must be read, and written where the benchmark says so
  Level level = Level::kMemory;
  std::string baseline = {};  // variant of the case this one is compared with; empty: none
  double part = 1;  // share of the job that `work` does: a slow baseline does some of it, and its time is scaled
};

struct Timing {
  double median = 0, min = 0;  // seconds
};

struct Result {
  std::string variant;
  Timing time;
  double flops = 0, bytes = 0;
  double roofline = 0;         // the least seconds that the measured machine could need
  double percent_of_peak = 0;  // 100 * roofline / median
  std::string bound = {};      // what the roofline is spent on: "arithmetic", "l2" or "memory"
  std::string baseline = {};
  Timing baseline_time = {};
  double speedup = 0;  // how many times as long the baseline takes
};

struct Report {
  std::string bench = {};
  nlohmann::ordered_json sizes = {};
  machine::Machine machine = {};
  int repeats = 0;
  std::vector<Result> results = {};
};

// A pool and the machine it was measured on.
struct Bench {
  explicit Bench(int threads) : pool(threads), machine(machine::MeasureMachine(pool)) {}

  kernels::ThreadPool pool;
  machine::Machine machine;
};

// `repeats` times every case in turn, after one round that does not count.
std::vector<Result> Measure(const std::vector<Case>& cases, int repeats, const machine::Machine& machine);

double Median(std::vector<double> values);

// What all threads of the machine reach together at best, by what a case can be bound by.
struct Roof {
  double gflops = 0, l2_gbps = 0, memory_gbps = 0, both_ways_gbps = 0;
};
Roof RoofOf(const machine::Machine& machine);

// The roofline: the least time in seconds, and what it is spent on.
std::pair<double, std::string> LeastTime(double flops, double bytes, Level level, const machine::Machine& machine);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_MEASURE_H_
