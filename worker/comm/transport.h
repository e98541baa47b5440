#ifndef FILIGREE_WORKER_COMM_TRANSPORT_H_
#define FILIGREE_WORKER_COMM_TRANSPORT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/array.h"

// What a backend has to do: carry one round of messages among the ranks of a group. Collectives are built of rounds in
// communicator.h. With NCCL a round is one group of ncclSend and ncclRecv on the arrays' stream.

namespace filigree::comm {

// Up to this a message may be shorter than the buffer that waits for it, and fills its beginning; beyond, lengths are
// equal.
constexpr size_t kSmallMessage = 8448;

// To or from one other rank. A round has at most one message from one rank to another. Memory and stream as in Array.
struct OutgoingMessage {
  int rank;
  const void* data;
  size_t bytes;
  Memory memory = Memory::kHost;
  void* stream = nullptr;
};
struct IncomingMessage {
  int rank;
  void* data;
  size_t bytes;
  Memory memory = Memory::kHost;
  void* stream = nullptr;
};

class Transport {
 public:
  // To the others a rank whose transport is gone has left. What it has sent before still arrives.
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string backend() const = 0;
  virtual std::string host(int rank) const = 0;
  virtual bool Holds(Memory memory) const { return memory == Memory::kHost; }

  // Sends and receives all of them, in any order, and returns when every buffer is free or filled, or, after an error,
  // when nobody touches them any more. `round` is the same number on all ranks and never comes again: a message of
  // another round is never taken for one of this. Errors: Unavailable (a peer is gone), DeadlineExceeded, both naming
  // the rank; what a peer left with (Leave); Cancelled after Interrupt; FailedPrecondition: a message is longer than
  // its buffer. Called by one thread at a time.
  virtual absl::Status Exchange(uint64_t round, std::span<const OutgoingMessage> out,
                                std::span<const IncomingMessage> in,
                                std::chrono::steady_clock::time_point deadline) = 0;

  // Makes an Exchange under way and all later ones return Cancelled soon. From any thread.
  virtual void Interrupt() = 0;

  // Tells the others, as far as they can still be reached, that this rank has failed and takes no part any more: an
  // Exchange that waits for any rank returns `why`, with this rank in front, since one of those may wait in turn for
  // somebody who never comes. Does not wait for them. No Exchange is under way or comes later. A transport that is
  // destroyed without it leaves too; only an Exchange that waits for that very rank then fails.
  virtual void Leave(const absl::Status& why) = 0;

  // A transport of those ranks of this group, in the order of their new numbers; this rank is one of them. Each of them
  // calls it with the same `round`, which no Exchange uses.
  virtual absl::StatusOr<std::unique_ptr<Transport>> Subgroup(uint64_t round, std::span<const int> ranks,
                                                              std::chrono::steady_clock::time_point deadline) = 0;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_TRANSPORT_H_
