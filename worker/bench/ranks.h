#ifndef FILIGREE_WORKER_BENCH_RANKS_H_
#define FILIGREE_WORKER_BENCH_RANKS_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/bench/bench.h"
#include "worker/comm/communicator.h"

// Benchmarks of what ranks tell each other: `filigree bench exchange|mask`, under mpirun or among threads of one
// process. Every rank calls them; the report is the same on all.

namespace filigree::bench {

// One operation among ranks, timed on all of them: from a barrier until the last has it.
struct RankResult {
  std::string variant;
  Timing time;                                                     // of the slowest rank in every repeat
  int64_t sent_bytes = 0;                                          // of the rank that sends most
  int64_t total_bytes = 0;                                         // sent by all
  nlohmann::ordered_json more = nlohmann::ordered_json::object();  // keys of this variant alone
};
struct RankReport {
  std::string bench;
  nlohmann::ordered_json sizes;
  int repeats = 0, ranks = 0, hosts = 0;
  std::string backend;
  machine::Machine machine;  // of the first rank
  std::vector<RankResult> results;
};
RankReport ReportOf(const std::string& bench, comm::Communicator& ranks, const machine::Machine& machine, int repeats,
                    std::vector<RankResult> results);
std::string FormatJson(const RankReport& report);
std::string FormatTable(const RankReport& report);

// What a case does in one repeat; bytes are those of the communicator.
struct RankCase {
  std::string variant;
  std::function<absl::Status()> prepare;  // not timed; may be empty
  std::function<absl::Status()> work;
};

// All cases in turn, `repeats` times after `warm` rounds that do not count. Collective. Errors: those of the cases.
absl::StatusOr<std::vector<RankResult>> MeasureRanks(comm::Communicator& ranks, const std::vector<RankCase>& cases,
                                                     int warm, int repeats);

// One step's gradients of a model over data-parallel ranks, by every way of worker/exchange/batch_sum.h, random
// gradients. Baseline: fp32 all-reduce of the dense gradient. Of the active regime all of the model and its sparsified
// matrices alone; the comparisons (top-k, balanced) run on the dense gradient, which they need.
struct ExchangeSizes {
  int d_model = 1024, layers = 4, vocab = 2048, context = 256;
  double density = 1.0 / 64, embedding_density = 1.0 / 16, candidates = 4;
  double bigram_share = 1.0 / 16, topk_share = 0.01;
  int tokens = 4096;  // of a step: how many rows of the bigram table are touched
};
absl::StatusOr<RankReport> RunExchange(const ExchangeSizes& sizes, const Common& common, comm::Communicator& ranks);

// The mask of a matrix whose rows lie with several ranks: distributed selection cold and warm, at several sizes.
// Baseline: all-gather of the weights, then every rank selects alone.
struct MaskSizes {
  int rows = 4096, cols = 1024;
  double density = 1.0 / 64;
  int min_alive = 4;
  int halvings = 3;  // sizes: rows, rows / 2, ...
};
absl::StatusOr<RankReport> RunMask(const MaskSizes& sizes, const Common& common, comm::Communicator& ranks);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_RANKS_H_
