#ifndef FILIGREE_WORKER_COMM_GLOO_LINK_H_
#define FILIGREE_WORKER_COMM_GLOO_LINK_H_

#include <gloo/transport/context.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker/comm/gloo/waker.h"
#include "worker/comm/transport.h"

// The connection to one other rank. Everything travels from and to memory of the link's own: Gloo keeps reading and
// writing what it has been given until the connection ends, whatever became of the round, and an array of the caller is
// free when the round is over.
//
// A message begins with a frame that says what it is and carries what is small; what is large follows in chunks beside
// the frames, so that a farewell passes by chunks which nobody takes any more.
//
// Threads: one at a time.

namespace filigree::comm {

struct Frame {
  enum class Kind : uint32_t { kMessage, kFarewell };
  static constexpr uint32_t kMagic = 0x46474c31;  // "FGL1"

  uint32_t magic = kMagic;
  Kind kind = Kind::kMessage;
  uint64_t round = 0;  // of a farewell: the status code
  uint64_t bytes = 0;  // of the message
};

// Memory of a large message under way, which several links may send from.
struct Block {
  std::unique_ptr<std::byte[]> data;
  size_t bytes = 0;
};

class Link {
 public:
  enum class Came { kYes, kNotYet, kGone };
  static constexpr size_t kChunkBytes = size_t{256} << 10;
  static constexpr size_t kFarewellBytes = 1024;

  // Borrows the waker. Ready for frames of the peer from now on.
  Link(gloo::transport::Context& context, int peer, Waker& waker);

  // kNotYet: after a tick or two. kGone: the connection is, and nothing is left to be taken; gone() says how.
  Came AwaitFrame();
  // The frame that came, until it is taken.
  const Frame& frame() const { return *reinterpret_cast<const Frame*>(front().memory.get()); }
  const std::byte* payload() const { return front().memory.get() + sizeof(Frame); }
  void TakeFrame();
  // Chunks of the large message that the last frame announced. AwaitChunk gives the next one, until it is taken.
  void BeginChunks(size_t bytes);
  Came AwaitChunk();
  std::span<const std::byte> chunk() const;
  void TakeChunk();

  // Whether a frame can be sent now; waits a tick or two for an earlier one.
  Came AwaitRoom();
  void SendSmall(uint64_t round, const void* data, size_t bytes);
  void SendLarge(uint64_t round, std::shared_ptr<Block> block);
  // Whether the last large message has been sent.
  Came AwaitSent();

  // The last frame, which needs no room.
  void SendFarewell(uint64_t code, const std::string& words);
  // Whether both have said farewell, so that nothing is under way any more: a connection that one end closes earlier
  // loses what the other end has not read. What still comes meanwhile is dropped.
  Came AwaitFarewells();

  bool gone() const { return gone_; }
  const std::string& how() const { return how_; }

 private:
  struct Box {
    std::unique_ptr<std::byte[]> memory;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer;
    int under_way = 0;  // operations
    bool came = false;
  };
  // Boxes used in turn, the oldest first.
  struct Ring {
    std::vector<Box> boxes;
    size_t next = 0;
    Box& front() { return boxes[next]; }
    void Turn() { next = (next + 1) % boxes.size(); }
  };

  Box& front() { return incoming_.front(); }
  const Box& front() const { return incoming_.boxes[incoming_.next]; }
  Box NewBox(size_t bytes);
  void Receive(Box& box, uint64_t slot, size_t bytes);
  void Send(Box& box, uint64_t slot, size_t offset, size_t bytes);
  void SendFrame(Box& box, const Frame& frame, const void* data, size_t bytes);
  Came AwaitReceived(Box& box);
  Came AwaitSentAll(Box& box);
  void Lost(std::string how);
  // Gloo tells of a lost connection those that wait for what it has not begun, and not those whose bytes are half on
  // their way. One that it has not begun is always there: this asks for it.
  bool StillConnected();

  gloo::transport::Context& context_;
  const int peer_;
  Waker& waker_;
  bool gone_ = false;
  std::string how_;
  Ring incoming_, outgoing_;
  Ring chunks_;
  size_t chunk_bytes_left_ = 0, chunk_bytes_unposted_ = 0;
  bool heard_farewell_ = false;
  std::shared_ptr<Block> large_block_;  // outlives the box that sends it
  Box farewell_, large_;
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_GLOO_LINK_H_
