#ifndef FILIGREE_WORKER_COMM_GLOO_TRANSPORT_H_
#define FILIGREE_WORKER_COMM_GLOO_TRANSPORT_H_

#include <gloo/transport/context.h>
#include <gloo/transport/device.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/comm/gloo/link.h"
#include "worker/comm/gloo/waker.h"
#include "worker/comm/transport.h"

// Rounds over the connections of a group of Gloo, which are its own: whatever breaks there breaks no other group.

namespace filigree::comm {

class GlooTransport : public Transport {
 public:
  // What Gloo has of a group whose ranks are connected, and where they are.
  struct Group {
    std::shared_ptr<gloo::transport::Device> device;    // null: this rank is alone
    std::shared_ptr<gloo::transport::Context> context;  // likewise
    int rank = 0;
    std::vector<std::string> hosts;
  };
  explicit GlooTransport(Group group);
  ~GlooTransport() override;

  int rank() const override { return group_.rank; }
  int size() const override { return static_cast<int>(group_.hosts.size()); }
  std::string backend() const override { return "gloo"; }
  std::string host(int rank) const override { return group_.hosts[static_cast<size_t>(rank)]; }

  absl::Status Exchange(uint64_t round, std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                        std::chrono::steady_clock::time_point deadline) override;
  void Interrupt() override;
  void Leave(const absl::Status& why) override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(uint64_t round, std::span<const int> ranks,
                                                      std::chrono::steady_clock::time_point deadline) override;

 private:
  struct Incoming {
    IncomingMessage message;
    bool begun = false, done = false;
    size_t bytes = 0, filled = 0;
  };
  struct Outgoing {
    OutgoingMessage message;
    bool begun = false, done = false;
  };
  struct Round {
    uint64_t number = 0;
    std::vector<Incoming> in;
    std::vector<Outgoing> out;
    bool moved = false;  // in this turn

    std::vector<int> Missing() const;
    bool AllReceived() const;
  };

  absl::Status Carry(Round& round, std::chrono::steady_clock::time_point deadline);
  // Each of them does what can be done now; where there is nothing to do it waits for a tick or two.
  void Begin(Round& round, Outgoing& out);
  void TakeChunk(Incoming& in);
  absl::Status Receive(Round& round, Incoming& in);
  absl::Status Open(const Round& round, Incoming& in);
  void ListenForFarewells(const Round& round);
  void TakeSent(Round& round);

  // A farewell or the end of the connection, where the link has that next.
  void TakeFarewell(int rank);
  void TakeLoss(int rank);
  absl::Status WhyNever(const std::vector<int>& missing) const;
  // A copy of the message, which messages with the same contents share.
  std::shared_ptr<Block> BlockOf(const OutgoingMessage& message, const Round& round);
  Link& link(int rank) { return *links_[static_cast<size_t>(rank)]; }

  const Group group_;
  Waker waker_;
  std::atomic<bool> interrupted_{false};
  bool has_left_ = false;
  std::vector<std::unique_ptr<Link>> links_;       // null: this rank
  std::vector<std::optional<absl::Status>> left_;  // why ranks take no part any more, naming them
  std::optional<int> failed_;                      // the first that left because of a failure, which is everybody's
  struct Copy {
    const void* from;
    std::shared_ptr<Block> block;
  };
  std::vector<Copy> copies_;  // of large messages of this round
  std::vector<std::shared_ptr<Block>> spare_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_TRANSPORT_H_
