#ifndef FILIGREE_WORKER_EXCHANGE_TRAFFIC_H_
#define FILIGREE_WORKER_EXCHANGE_TRAFFIC_H_

#include <cstdint>
#include <span>
#include <vector>

#include "worker/comm/traffic.h"
#include "worker/exchange/batch_sum.h"

// What the exchanges of this room move, known before anything is sent: the bytes that comm::Communicator::traffic()
// counts at one rank. Whoever changes what an exchange sends changes it here too; tests compare with what is counted.
//
// rank, ranks: of the data-parallel group. leaves: the logical shards of a step.

namespace filigree::exchange {

// How far a formula goes.
enum class Accuracy {
  kExact,   // to the byte
  kAtMost,  // what depends on the batch is taken at its most: every token touches another row of the bigram table, the
            // search among sums (balanced) guesses wrong and many are equal
  kAbout    // lists of positions are taken as random subsets, which they are not quite (kernels/gradcodec/index_list.h)
};

struct Forecast {
  comm::Traffic traffic;
  Accuracy accuracy = Accuracy::kExact;
};

// The gradients on one rank.
struct GradientShape {
  int64_t floats = 0;                                          // of an arena
  int64_t bigram_begin = 0, bigram_rows = 0, bigram_cols = 0;  // where the table lies; no rows: there is none
  int bigram = -1;                                             // the table's index among the tensors
  std::vector<int64_t> arrays;                                 // values of every other tensor
  std::vector<int64_t> stages;                                 // of those together, by stage of backward
  std::vector<int64_t> tokens;                                 // of every leaf
};

// BatchSum::Sum: the bigram table, where it goes its own way, and all the rest.
struct SumForecast {
  Forecast bigram, others;
};
SumForecast TrafficOfSum(const SumOptions& options, const GradientShape& shape, int rank, int ranks);

// An owner's matrix in a step.
struct OwnedMatrix {
  int owner = 0;
  int64_t numel = 0, kept = 0;  // kept == numel: no mask
};

// DistributedSelect of owners' matrices that share a threshold: at its most, with a guess that is wrong and ties.
Forecast TrafficOfSharedThreshold(std::span<const OwnedMatrix> matrices, int rank, int ranks);

// After the owners' updates: the weights of their matrices to all others (surviving_weights.h), or, where a matrix has
// no mask, all of them as they are.
Forecast TrafficOfWeights(std::span<const OwnedMatrix> matrices, int rank, int ranks);

// After a refresh: the new candidates of an owner's matrix to all others (candidate_sets.h).
struct ForecastSet {
  int owner = 0;
  int64_t numel = 0, entries = 0;
};
Forecast TrafficOfCandidateSets(std::span<const ForecastSet> sets, int rank, int ranks);

// Bytes that come and go while weights of owners are gathered.
int64_t MemoryOfWeights(std::span<const OwnedMatrix> matrices, int rank, int ranks);

// NumberSum::SumNumbers of `width` numbers a subtree.
comm::Traffic TrafficOfNumbers(int64_t leaves, int rank, int ranks, int64_t width);

// AgreeOnNewcomers where shards propose more than are wanted, each as many as the others.
struct ProposedMatrix {
  int64_t bound = 0, wanted = 0;
};
Forecast TrafficOfProposals(std::span<const ProposedMatrix> matrices, int64_t shards, int rank, int ranks);

// Compare and Consensus as long as all agree.
comm::Traffic TrafficOfConsensus(int ranks);

// Bytes that the buffers of a BatchSum hold, its residual included.
int64_t MemoryOfSum(const SumOptions& options, const GradientShape& shape, int rank, int ranks);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_TRAFFIC_H_
