#ifndef FILIGREE_WORKER_COMM_TRAFFIC_H_
#define FILIGREE_WORKER_COMM_TRAFFIC_H_

#include <cstdint>

// Bytes that crossed from rank to rank: payload, without the headers of messages. What a rank keeps for itself does not
// count.

namespace filigree::comm {

struct Traffic {
  int64_t sent_bytes = 0, received_bytes = 0;
  int64_t operations = 0;

  Traffic operator-(const Traffic& before) const {
    return {sent_bytes - before.sent_bytes, received_bytes - before.received_bytes, operations - before.operations};
  }
  Traffic& operator+=(const Traffic& more) {
    sent_bytes += more.sent_bytes;
    received_bytes += more.received_bytes;
    operations += more.operations;
    return *this;
  }
};

// What Communicator::AllReduce of so many elements moves at one of the ranks.
Traffic TrafficOfAllReduce(int64_t count, int64_t element_bytes, int rank, int ranks);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_TRAFFIC_H_
