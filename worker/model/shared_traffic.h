#ifndef FILIGREE_WORKER_MODEL_SHARED_TRAFFIC_H_
#define FILIGREE_WORKER_MODEL_SHARED_TRAFFIC_H_

#include <cstdint>

#include "worker/model/spec.h"

// What the passes of a shared model move (sharded_pass.h, tile_exchange.h), known before anything is sent. Whoever
// changes what they send changes it here too; a test compares with what is counted.

namespace filigree::model {

// Payload of one rank, to and from all others of its tensor group.
struct SharedTraffic {
  int64_t sent_bytes = 0, received_bytes = 0;

  SharedTraffic& operator+=(const SharedTraffic& more) {
    sent_bytes += more.sent_bytes;
    received_bytes += more.received_bytes;
    return *this;
  }
};

// Network::LossAndGradient of so many sequences. whole: the spec of the whole model. The same for every batch: where
// AbsTopK acts it keeps as many entries of every token.
SharedTraffic TrafficOfLossAndGradient(const ModelSpec& whole, const Shard& shard, int sequences, int positions);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_SHARED_TRAFFIC_H_
