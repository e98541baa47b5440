#include "worker/comm/gloo/link.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/comm/gloo/exceptions.h"

namespace filigree::comm {
namespace {

// Gloo matches sends and receives of a slot in order.
constexpr uint64_t kFrames = 1, kChunks = 2;
// What a rank may be ahead of another without waiting.
constexpr size_t kFramesUnderWay = 8, kChunksUnderWay = 4;
constexpr size_t kFrameBytes = sizeof(Frame) + kSmallMessage;

}  // namespace

Link::Link(gloo::transport::Context& context, int peer, Waker& waker) : context_(context), peer_(peer), waker_(waker) {
  incoming_.boxes.reserve(kFramesUnderWay);
  outgoing_.boxes.reserve(kFramesUnderWay);
  for (size_t i = 0; i < kFramesUnderWay; ++i) {
    incoming_.boxes.push_back(NewBox(kFrameBytes));
    outgoing_.boxes.push_back(NewBox(kFrameBytes));
  }
  farewell_ = NewBox(sizeof(Frame) + kFarewellBytes);
  for (Box& box : incoming_.boxes) Receive(box, kFrames, kFrameBytes);
}

Link::Box Link::NewBox(size_t bytes) {
  Box box;
  box.memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
  box.buffer = context_.createUnboundBuffer(box.memory.get(), bytes);
  return box;
}

void Link::Lost(std::string how) {
  if (gone_) return;
  gone_ = true;
  how_ = std::move(how);
}

void Link::Receive(Box& box, uint64_t slot, size_t bytes) {
  std::string how;
  box.came = false;
  box.under_way = Calls([&] { box.buffer->recv(peer_, slot, 0, bytes); }, &how) ? 1 : 0;
  if (box.under_way == 0) Lost(std::move(how));
}

void Link::Send(Box& box, uint64_t slot, size_t offset, size_t bytes) {
  std::string how;
  ++box.under_way;
  if (!Calls([&] { box.buffer->send(peer_, slot, offset, bytes); }, &how)) Lost(std::move(how));
}

bool Link::StillConnected() {
  if (gone_) return false;
  const size_t count = incoming_.boxes.size();
  Box& newest = incoming_.boxes[(incoming_.next + count - 1) % count];
  if (newest.came) return true;  // and so has everything before it
  std::string how;
  const auto ask = [&] {
    newest.buffer->abortWaitRecv();  // the wait below returns at once
    newest.buffer->waitRecv();
  };
  if (!Calls(ask, &how)) Lost(std::move(how));
  return !gone_;
}

Link::Came Link::AwaitReceived(Box& box) {
  for (bool connected = true; !box.came;) {
    if (box.under_way == 0) return Came::kGone;
    std::string how;
    if (!Calls([&] { box.came = waker_.AwaitReceive(*box.buffer); }, &how)) {
      Lost(std::move(how));
      return Came::kGone;
    }
    if (box.came) break;
    if (!connected) return Came::kGone;
    connected = StillConnected();
    if (connected) return Came::kNotYet;
    // Once more: it may have come before the connection ended.
  }
  return Came::kYes;
}

Link::Came Link::AwaitSentAll(Box& box) {
  for (bool connected = true; box.under_way > 0;) {
    bool sent = false;
    std::string how;
    if (!Calls([&] { sent = waker_.AwaitSend(*box.buffer); }, &how)) Lost(std::move(how));
    if (sent) {
      --box.under_way;
      continue;
    }
    if (gone_ || !connected) return Came::kGone;
    connected = StillConnected();
    if (connected) return Came::kNotYet;
    // Once more: its end may have come before that of the connection.
  }
  return Came::kYes;
}

Link::Came Link::AwaitFrame() { return AwaitReceived(incoming_.front()); }

void Link::TakeFrame() {
  Receive(incoming_.front(), kFrames, kFrameBytes);
  incoming_.Turn();
}

void Link::BeginChunks(size_t bytes) {
  if (chunks_.boxes.empty()) {
    chunks_.boxes.reserve(kChunksUnderWay);
    for (size_t i = 0; i < kChunksUnderWay; ++i) chunks_.boxes.push_back(NewBox(kChunkBytes));
  }
  chunks_.next = 0;
  chunk_bytes_left_ = chunk_bytes_unposted_ = bytes;
  for (Box& box : chunks_.boxes) {
    if (chunk_bytes_unposted_ == 0) break;
    const size_t next = std::min(kChunkBytes, chunk_bytes_unposted_);
    Receive(box, kChunks, next);
    chunk_bytes_unposted_ -= next;
  }
}

Link::Came Link::AwaitChunk() { return AwaitReceived(chunks_.front()); }

std::span<const std::byte> Link::chunk() const {
  return {chunks_.boxes[chunks_.next].memory.get(), std::min(kChunkBytes, chunk_bytes_left_)};
}

void Link::TakeChunk() {
  chunk_bytes_left_ -= std::min(kChunkBytes, chunk_bytes_left_);
  const size_t next = std::min(kChunkBytes, chunk_bytes_unposted_);
  if (next > 0) Receive(chunks_.front(), kChunks, next);
  chunk_bytes_unposted_ -= next;
  chunks_.Turn();
}

Link::Came Link::AwaitRoom() { return AwaitSentAll(outgoing_.front()); }

void Link::SendFrame(Box& box, const Frame& frame, const void* data, size_t bytes) {
  std::memcpy(box.memory.get(), &frame, sizeof(frame));
  if (bytes > 0) std::memcpy(box.memory.get() + sizeof(frame), data, bytes);
  Send(box, kFrames, 0, sizeof(frame) + bytes);
}

void Link::SendSmall(uint64_t round, const void* data, size_t bytes) {
  SendFrame(outgoing_.front(), {.round = round, .bytes = bytes}, data, bytes);
  outgoing_.Turn();
}

void Link::SendLarge(uint64_t round, std::shared_ptr<Block> block) {
  const size_t bytes = block->bytes;
  SendFrame(outgoing_.front(), {.round = round, .bytes = bytes}, nullptr, 0);
  outgoing_.Turn();
  large_ = Box();
  large_block_ = std::move(block);
  large_.buffer = context_.createUnboundBuffer(large_block_->data.get(), bytes);
  for (size_t begin = 0; begin < bytes && !gone_; begin += kChunkBytes) {
    Send(large_, kChunks, begin, std::min(kChunkBytes, bytes - begin));
  }
}

Link::Came Link::AwaitSent() {
  const Came sent = AwaitSentAll(large_);
  if (sent == Came::kYes) large_block_ = nullptr;
  return sent;
}

void Link::SendFarewell(uint64_t code, const std::string& words) {
  const size_t bytes = std::min(words.size(), kFarewellBytes);
  SendFrame(farewell_, {.kind = Frame::Kind::kFarewell, .round = code, .bytes = bytes}, words.data(), bytes);
}

Link::Came Link::AwaitFarewells() {
  const Came sent = AwaitSentAll(farewell_);
  while (sent == Came::kYes && !heard_farewell_) {
    const Came came = AwaitFrame();
    if (came != Came::kYes) return came;
    heard_farewell_ = frame().kind == Frame::Kind::kFarewell;
    if (!heard_farewell_) TakeFrame();
  }
  return sent;
}

}  // namespace filigree::comm
