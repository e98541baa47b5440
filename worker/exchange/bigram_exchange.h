#ifndef FILIGREE_WORKER_EXCHANGE_BIGRAM_EXCHANGE_H_
#define FILIGREE_WORKER_EXCHANGE_BIGRAM_EXCHANGE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/alternatives.h"
#include "worker/exchange/subtree.h"

// The gradient of the bigram table, dense in the model and larger than all others together: its own way over the wire.
//
//   exact    entries = 0: rows that some token of the batch has touched (any bit set), in fp32, to the owners of runs
//            of rows; owners add along the tree of logical shards (subtree.h); touched rows go back to all. The bits of
//            one rank alone. Bytes a rank: 4 V a row that it touched and another owns (once a subtree), and
//            (P - 1) 4 V a row it owns that anybody touched
//   largest  entries > 0: so many a rank in bf16, the others held back (alternatives.h: top-k, or balanced).
//            Bytes an entry: 2 + (log2(V^2 / entries) + 1.5) / 8
//
// Determinism: exact: as the tree says, for any grid. largest: a function of the grid.
// Threads: one caller; parallel over the pool.

namespace filigree::exchange {

class BigramExchange {
 public:
  struct Options {
    int64_t rows = 0, cols = 0;
    int64_t entries = 0;
    bool balanced = false;
  };
  // Borrows both. leaves: the logical shards of a step, cut among the ranks by parallel::LeavesOf.
  BigramExchange(comm::Communicator& data, int64_t leaves, const Options& options, kernels::ThreadPool& pool);

  // The table's gradient by one of this rank's maximal subtrees: [rows][cols].
  struct Part {
    Subtree subtree;
    float* gradient = nullptr;
  };
  // parts: of all of this rank's subtrees, in order; overwritten. The sum stands in the first one afterwards. residual:
  // what this rank holds back, rows * cols elements; untouched where all is exact. Collective. Errors: those of the
  // communicator; InvalidArgument where bytes that arrive do not fit.
  absl::Status Sum(std::span<const Part> parts, std::span<float> residual);

 private:
  struct Row;
  int64_t RowBegin(int rank) const { return options_.rows * rank / data_.size(); }
  std::vector<std::vector<uint32_t>> TouchedRows(std::span<const Part> parts);
  std::string RowsMessage(std::span<const Part> parts, const std::vector<std::vector<uint32_t>>& touched, int owner);
  absl::Status SumExactly(std::span<const Part> parts);
  absl::StatusOr<std::string> AddOwnRows(const std::vector<std::string>& received);

  comm::Communicator& data_;
  const Options options_;
  kernels::ThreadPool& pool_;
  std::vector<std::vector<Subtree>> subtrees_;  // of every rank
  std::unique_ptr<GradientSum> largest_;
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_BIGRAM_EXCHANGE_H_
