#ifndef FILIGREE_WORKER_EXCHANGE_ENTRY_CUT_H_
#define FILIGREE_WORKER_EXCHANGE_ENTRY_CUT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/weight_topk/entry.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/rank_search.h"

// Which of entries (position, value) that lie with several ranks are the `wanted` largest: by |value|, ties: the lower
// position. An entry of one position may be with several ranks.

namespace filigree::exchange {

struct ScatteredEntries {
  int64_t bound = 0;                    // of positions; the same on every rank
  int64_t wanted = 0;                   // the same on every rank
  std::span<const uint32_t> positions;  // this rank's
  std::span<const float> values;
};

// What is in: magnitudes (entry.h) above `magnitude`, and those equal to it up to position `last`.
struct EntryCut {
  int64_t magnitude = -1, last = -1;

  bool Holds(uint32_t position, float value) const {
    const int64_t bits = kernels::MagnitudeBits(value);
    return bits > magnitude || (bits == magnitude && position <= last);
  }
};

// For each group. Where there are not more than `wanted`, everything is in; equal entries of one position are in
// together, so a few more may be. guesses: one a group, or none; the same on every rank; updated. Collective. Errors:
// those of the communicator.
absl::StatusOr<std::vector<EntryCut>> CutEntries(comm::Communicator& ranks, std::span<const ScatteredEntries> groups,
                                                 std::span<KeyGuess> guesses);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_ENTRY_CUT_H_
