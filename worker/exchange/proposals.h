#ifndef FILIGREE_WORKER_EXCHANGE_PROPOSALS_H_
#define FILIGREE_WORKER_EXCHANGE_PROPOSALS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

// Newcomers that data-parallel ranks agree on, where each logical shard has seen its own part of the batch: sampled
// gradients, or any score that adds up. The seeded draw needs no such agreement.
//
//   1. every logical shard proposes positions with scores
//   2. the threshold of the `wanted` largest |score| among all proposals is found by histograms (rank_search.h), those
//      equal to it by lowest position; only proposals that reach it travel: coded positions and fp32 scores
//   3. scores of one position add up, in the order of shards; positions rank by |sum|, ties: the lower position
//
// So a position that several shards propose counts once, and fewer than `wanted` may come out: a refresh draws the
// rest. A position whose scores reach the threshold only together is not seen, and a shard's score may be missing from
// a sum.
//
// Bytes          rounds of at most 16 KB a matrix; then the `wanted` survivors, each about
//                4 + (log2(bound / wanted) + 1.5) / 8. Proposals that do not survive cost nothing.
// Determinism    the same on every rank, however many share the shards: who holds which makes no difference.

namespace filigree::exchange {

// Of one logical shard.
struct ProposalList {
  std::span<const uint32_t> positions;  // ascending, each once
  std::span<const float> scores;        // NaN is larger than every number
};

struct Proposals {
  int64_t bound = 0;                // positions are below it: the entries of the matrix, < 2^32. The same on every rank
  int64_t wanted = 0;               // the same on every rank
  std::vector<ProposalList> lists;  // of this rank's shards, in order
};

// For each matrix the positions agreed on, best first: at most `wanted`. shards: cut among the ranks by
// parallel::LeavesOf. Collective. Errors: those of the communicator; InvalidArgument where bytes that arrive do not
// fit.
absl::StatusOr<std::vector<std::vector<uint32_t>>> AgreeOnNewcomers(comm::Communicator& ranks, int64_t shards,
                                                                    std::span<const Proposals> matrices);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_PROPOSALS_H_
