#ifndef FILIGREE_WORKER_TRAIN_EVALUATE_H_
#define FILIGREE_WORKER_TRAIN_EVALUATE_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "worker/data/token_stream.h"
#include "worker/model/network.h"
#include "worker/parallel/world.h"

namespace filigree::train {

// Windows that are computed together: a rank takes all of them, so that sums are the same for any number of ranks.
inline constexpr int64_t kEvaluatedTogether = 16;

struct Evaluation {
  double loss = 0;     // mean cross-entropy in nats a predicted token
  int64_t tokens = 0;  // predicted
  bool whole = true;   // false: broken off
};

// Loss over `sequences` windows of n_ctx tokens spread evenly over the stream (0: every window), n_ctx - 1 predictions
// each. The stream holds at least one window. Deterministic for any number of threads. `go_on` (may be empty) is asked
// between chunks; where it says no, the mean is over what was done so far, and not `whole`.
Evaluation Evaluate(model::Network& network, const data::TokenStream& stream, int n_ctx, int64_t sequences,
                    const std::function<bool()>& go_on = {});

// The same shared by the data-parallel ranks of `world` (null: alone), all of which call it and get the same result,
// with the bits of a rank alone. go_on must say the same on all of them. Errors: a rank was lost.
absl::StatusOr<Evaluation> Evaluate(model::Network& network, const data::TokenStream& stream, int n_ctx,
                                    int64_t sequences, const std::function<bool()>& go_on, parallel::World* world);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_TRAIN_EVALUATE_H_
