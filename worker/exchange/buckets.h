#ifndef FILIGREE_WORKER_EXCHANGE_BUCKETS_H_
#define FILIGREE_WORKER_EXCHANGE_BUCKETS_H_

#include <cstdint>
#include <vector>

#include "worker/model/gradient_stages.h"
#include "worker/model/layout.h"

// Which gradients travel together, and when: in the order in which backward has them ready, the small ones of several
// stages in one bucket. A function of what all data-parallel ranks have alike, so that their operations go together.

namespace filigree::exchange {

// Bytes of fp32 gradients in a bucket at least, where nobody says otherwise: docs/results/exchange.md.
inline constexpr int64_t kBucketBytes = 1 << 20;

struct Bucket {
  int stage = 0;  // of backward, after which it may go (model/gradient_stages.h); does not fall from one to the next
  bool alone = false;  // the tensor that has its own way
  std::vector<int> tensors;
};

// Every tensor is in one bucket. `alone`: the one tensor that is a bucket of its own, before others of its stage; -1:
// none. Others are ready to go once they are `least_values` together; 0: all of them in one bucket, at the end.
std::vector<Bucket> BucketsOf(const std::vector<std::vector<int>>& stages, const model::Layout& layout, int alone,
                              int64_t least_values);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_BUCKETS_H_
