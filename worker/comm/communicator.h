#ifndef FILIGREE_WORKER_COMM_COMMUNICATOR_H_
#define FILIGREE_WORKER_COMM_COMMUNICATOR_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/array.h"
#include "worker/comm/reduce.h"
#include "worker/comm/traffic.h"
#include "worker/comm/transport.h"

// Collective operations among the ranks of a group. One contract for every backend: what travels, in which order it is
// summed and what is refused is decided here, once; a backend (transport.h) only carries messages.
//
// Order. Every rank of a group calls the same operations in the same order with the same sizes. Operations run one
// after another in that order; asynchronous ones run while the caller goes on. Every message says which operation it
// belongs to (number, kind, element type, bytes): ranks that disagree get FailedPrecondition that names both calls and
// both ranks.
//
// Sums. Elements are added along the fixed binary tree over ranks: 2i and 2i + 1, then pairs of pairs, what is left
// is added from the right. Same bits on every rank, every backend, every run.
//
// Failure. A peer that is gone: Unavailable; one that does not answer within the deadline: DeadlineExceeded; both name
// the rank and the operation. After a failure the communicator is broken: operations under way and later ones return
// that first Status, and no call blocks. Contents of output arrays are then unspecified.
//
// Memory. Arrays are borrowed until the operation is over (Pending::Wait, or return of the blocking form). Host memory
// unless the array says kDevice, which a transport without device memory refuses with Unimplemented; an array on a
// device carries the stream after which it may be read and which waits for it to be written.
//
// Threads: one caller at a time a communicator; communicators of different groups may be used side by side.

namespace filigree::comm {

// An operation under way, and its copies. Dropped without Wait it still runs to its end.
class Pending {
 public:
  struct State;
  Pending() = default;  // over, with OK
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}

  absl::Status Wait();
  bool Done() const;

 private:
  std::shared_ptr<State> state_;
};

class Communicator {
 public:
  struct Options {
    std::chrono::milliseconds deadline{30'000};  // of an operation, from the time it begins to run
  };
  Communicator(std::unique_ptr<Transport> transport, Options options);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const;
  int size() const;
  std::string backend() const;  // "local", "mpi", "gloo"
  std::string host(int rank) const;

  // Of operations that begin after this.
  void SetDeadline(std::chrono::milliseconds deadline);

  // What the next operations are for; stands in messages: "gradients of layer 3". Not compared.
  void Name(std::string what);

  // array = reduction over ranks. As reduce-scatter and all-gather.
  Pending AllReduceAsync(Array array, ReduceOp op);
  // in: the concatenation over ranks r of counts[r] elements; out: this rank's counts[rank], reduced.
  Pending ReduceScatterAsync(ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op);
  // out: the concatenation over ranks of what each gave. counts[r]: elements of rank r, the same everywhere.
  Pending AllGatherAsync(ConstArray in, std::span<const int64_t> counts, Array out);
  // Sends send_counts[r] elements of `in` (concatenated) to rank r; receives likewise. What a rank sends to another is
  // what that one expects.
  Pending AllToAllAsync(ConstArray in, std::span<const int64_t> send_counts, Array out,
                        std::span<const int64_t> receive_counts);
  Pending BroadcastAsync(Array array, int root);
  Pending BarrierAsync();

  // The same, over on return. They run on the caller's thread where nothing else is under way.
  absl::Status AllReduce(Array array, ReduceOp op);
  absl::Status ReduceScatter(ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op);
  absl::Status AllGather(ConstArray in, std::span<const int64_t> counts, Array out);
  absl::Status AllToAll(ConstArray in, std::span<const int64_t> send_counts, Array out,
                        std::span<const int64_t> receive_counts);
  absl::Status Broadcast(Array array, int root);
  absl::Status Barrier();

  // Any number of bytes from every rank to all of them, in rank order.
  absl::StatusOr<std::vector<std::string>> AllGatherStrings(const std::string& mine);

  // A group of those who give the same color, in the order of key, then rank. Every rank of this one calls it.
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int color, int key);

  // Breaks the communicator from any thread: operations under way and later ones return `why`.
  void Abort(absl::Status why);

  // Why it is broken; OK: it is not. From any thread.
  absl::Status broken() const;

  // Payload bytes that this rank has sent to and received from others since the start.
  Traffic traffic() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_COMMUNICATOR_H_
