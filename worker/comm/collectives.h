#ifndef FILIGREE_WORKER_COMM_COLLECTIVES_H_
#define FILIGREE_WORKER_COMM_COLLECTIVES_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/comm/array.h"
#include "worker/comm/reduce.h"
#include "worker/comm/rounds.h"

// Every collective as rounds of messages, of arguments that have been checked (communicator.h says what they are).

namespace filigree::comm {

absl::Status AllReduce(Rounds& rounds, Array array, ReduceOp op);
absl::Status ReduceScatter(Rounds& rounds, ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op);
absl::Status AllGather(Rounds& rounds, ConstArray in, std::span<const int64_t> counts, Array out);
absl::Status AllToAll(Rounds& rounds, ConstArray in, std::span<const int64_t> send_counts, Array out,
                      std::span<const int64_t> receive_counts);
absl::Status Broadcast(Rounds& rounds, Array array, int root);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_COLLECTIVES_H_
