#ifndef FILIGREE_WORKER_EXCHANGE_RANK_SEARCH_H_
#define FILIGREE_WORKER_EXCHANGE_RANK_SEARCH_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

// The k-th largest of keys that lie scattered over ranks, for several groups of keys at once: every round is one
// all-reduce of histograms, in which the bin that holds the k-th largest becomes the next round's range.
//
// Bytes          at most 2048 counts of 4 bytes (8 where a group has 2^32 keys or more) a group and round, whatever the
//                number of keys; ceil(log2(range) / 11) rounds without a guess, so 3 for magnitudes of floats. A good
//                guess makes one or two rounds of as many counts as its window asks for.
// Determinism    sums of integers: the answers do not depend on who holds which keys, nor on the guess.

namespace filigree::exchange {

// The same on every rank.
struct RankQuery {
  int64_t range = 0;                       // keys lie in [0, range), range <= 2^62
  int64_t keys = 0;                        // on all ranks together
  int64_t wanted = 0;                      // the how-manieth largest: 1 <= wanted <= keys
  int64_t guess_begin = 0, guess_end = 0;  // where it may lie: looked at first. Empty: no guess
};

// Where the answer to a query that is asked every step is looked for: around the last one, as far as it has moved of
// late. The same on every rank, so whoever begins anew makes all begin anew.
struct KeyGuess {
  int64_t key = 0, margin = 0;  // 0: unknown

  void Ask(RankQuery& query) const;
  void Update(int64_t found);
};

struct RankAnswer {
  int64_t key = 0;    // the wanted-th largest
  int64_t above = 0;  // keys that are larger: above < wanted
  int64_t equal = 0;  // keys that are equal to it: wanted <= above + equal
};

// What one round asks of this rank's keys of a group.
struct Look {
  size_t group = 0;
  int64_t begin = 0, end = 0;  // keys counted inside
  int shift = 0;               // inside[(key - begin) >> shift]
  bool outside = false;        // whether above and below are asked for
  std::span<uint64_t> inside;  // zero before
  uint64_t above = 0, below = 0;
};

// Counts keys that lie in an array.
void CountKeysIn(std::span<const int64_t> keys, Look& look);

// Fills the counts of all looks of a round: those of the groups that are not found yet.
using CountKeys = std::function<void(std::span<Look> looks)>;

// Collective. Errors: those of the communicator; FailedPrecondition where the ranks' keys of a group are not as many as
// the query says (they hold parts twice, or leave some out).
absl::StatusOr<std::vector<RankAnswer>> SearchRanks(comm::Communicator& ranks, std::span<const RankQuery> queries,
                                                    const CountKeys& count);

// How many counts each all-reduce of a search without a guess has, for one group of keys in [0, range).
std::vector<int64_t> CountsOfSearch(int64_t range);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_RANK_SEARCH_H_
