#ifndef FILIGREE_WORKER_COMM_ROUNDS_H_
#define FILIGREE_WORKER_COMM_ROUNDS_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/call.h"
#include "worker/comm/traffic.h"
#include "worker/comm/transport.h"

// The rounds of one operation. The first one carries every rank's call to every other, and with it what is small; what
// is large follows once all agree, from where it lies to where it goes.

namespace filigree::comm {

// Payload up to this travels with the call: a small operation is one round. Beyond it a copy costs more than a round.
constexpr size_t kInlineBytes = 8192;

// Memory that operations of a communicator use one after another.
class Scratch {
 public:
  // At least `bytes`, of any content; valid until the next call.
  std::byte* Openings(size_t bytes) { return openings_.Get(bytes); }
  std::byte* Parts(size_t bytes) { return parts_.Get(bytes); }

 private:
  struct Block {
    std::unique_ptr<std::byte[]> data;
    size_t bytes = 0;
    std::byte* Get(size_t wanted);
  };
  Block openings_, parts_;
};

class Rounds {
 public:
  Rounds(Transport* transport, const Call* call, std::chrono::steady_clock::time_point deadline, Scratch* scratch)
      : transport_(*transport), call_(*call), deadline_(deadline), scratch_(*scratch) {}

  int rank() const { return transport_.rank(); }
  int size() const { return transport_.size(); }
  Transport& transport() { return transport_; }
  Scratch& scratch() { return scratch_; }
  std::chrono::steady_clock::time_point deadline() const { return deadline_; }
  uint64_t NextRound() { return (call_.number << 20) + step_++; }

  // The first round: at most one message each way with every other rank, of which both ends know the size.
  absl::Status First(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in);
  absl::Status Next(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in);
  // A first round of strings, whose sizes only their senders know. In rank order, this rank's among them.
  absl::StatusOr<std::vector<std::string>> Strings(const std::string& mine);

  // Payload of the messages so far, if all went well.
  const Traffic& traffic() const { return traffic_; }

 private:
  // What this rank says to another in the first round, and what it hears.
  struct Peer {
    Header mine, other;
    std::byte *send = nullptr, *receive = nullptr;
    const std::byte* payload() const { return receive + kHeaderBytes; }
  };
  absl::Status Open(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                    std::vector<Peer>* peers);
  absl::Status Carry(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in);

  Transport& transport_;
  const Call& call_;
  const std::chrono::steady_clock::time_point deadline_;
  Scratch& scratch_;
  uint64_t step_ = 0;
  Traffic traffic_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_ROUNDS_H_
