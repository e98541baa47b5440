#ifndef FILIGREE_WORKER_MASK_WEDGE_H_
#define FILIGREE_WORKER_MASK_WEDGE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"

// Where the gradient of a linear layer is large, without forming it: positions are drawn in proportion to what its
// addends sum to in magnitude, and vote with their signs.
//
//   dW[o, i] = sum over t of dy[o, t] x[i, t]
//   a vote:  token t with probability ~ ||dy_t||_1 ||x_t||_1, then o ~ |dy[o, t]|, i ~ |x[i, t]|; worth
//            sign(dy[o, t] x[i, t]) * (sum over t of ||dy_t||_1 ||x_t||_1) / samples
//
// so the expected sum of the votes for a position is its gradient. Votes of several steps add up: their gradients do.
//
// Source         Cohen and Lewis 1999 (wedge sampling); Ballard et al. 2015 for the ranking by signed counts.

namespace filigree::mask {

struct WedgeBatch {
  std::span<const kernels::ConstTile> x, dy;  // [in][64] and [out][64] of the same tokens, tile by tile
  int64_t samples = 0;                        // at most 2^21; none is drawn where everything is 0
  uint64_t seed = 0, stream = 0;
  int64_t step = 0;
};

class WedgeVotes {
 public:
  // out * in < 2^32 - 1.
  WedgeVotes(int out, int in) : out_(out), in_(in) {}

  // Tokens whose norms are no finite numbers have no votes. Parallel over tiles, bitwise the same for any number of
  // threads. At most 196608 tokens.
  void Add(const WedgeBatch& batch, kernels::ThreadPool& pool);
  void Clear();

  // What all votes for a position o * in + i sum to.
  struct Sum {
    uint32_t position = 0;
    double sum = 0;
  };
  // Positions with votes, ascending.
  std::vector<Sum> Sums() const;
  // The `count` positions of largest |sum|, best first (ties: the lower index), fewer where there are no more.
  std::vector<uint32_t> Best(int64_t count) const;

 private:
  const int out_, in_;
  std::vector<double> worth_;    // of a vote, per batch
  std::vector<uint64_t> votes_;  // position, batch, sign: 32, 31 and 1 bits
};

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_WEDGE_H_
