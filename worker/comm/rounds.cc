#include "worker/comm/rounds.h"

#include <fmt/format.h>

#include <cstring>

namespace filigree::comm {

std::byte* Scratch::Block::Get(size_t wanted) {
  if (bytes < wanted) {
    data = nullptr;
    data = std::make_unique_for_overwrite<std::byte[]>(wanted);
    bytes = wanted;
  }
  return data.get();
}

absl::Status Rounds::Carry(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in) {
  absl::Status status = transport_.Exchange(NextRound(), out, in, deadline_);
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", Describe(call_), std::string(status.message())));
}

// Says the call to every other rank and hears theirs, each with its payload where that is small.
absl::Status Rounds::Open(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                          std::vector<Peer>* peers) {
  constexpr size_t kMessageBytes = kHeaderBytes + kInlineBytes;
  static_assert(kMessageBytes <= kSmallMessage);
  std::byte* memory = scratch_.Openings(2 * kMessageBytes * static_cast<size_t>(size()));
  peers->resize(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) {
    Peer& peer = (*peers)[r];
    peer.mine.call = call_;
    peer.send = memory + 2 * kMessageBytes * static_cast<size_t>(r);
    peer.receive = peer.send + kMessageBytes;
  }
  for (const OutgoingMessage& message : out) {
    Peer& peer = (*peers)[message.rank];
    peer.mine.sends = message.bytes;
    if (message.bytes > 0 && message.bytes <= kInlineBytes) {
      std::memcpy(peer.send + kHeaderBytes, message.data, message.bytes);
    }
  }
  for (const IncomingMessage& message : in) (*peers)[message.rank].mine.expects = message.bytes;

  std::vector<OutgoingMessage> say;
  std::vector<IncomingMessage> hear;
  say.reserve(peers->size());
  hear.reserve(peers->size());
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    const Peer& peer = (*peers)[r];
    WriteHeader(peer.mine, peer.send);
    const size_t payload = peer.mine.sends <= kInlineBytes ? peer.mine.sends : 0;
    say.push_back({r, peer.send, kHeaderBytes + payload});
    hear.push_back({r, peer.receive, kMessageBytes});
  }
  if (absl::Status status = Carry(say, hear); !status.ok()) return status;
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    Peer& peer = (*peers)[r];
    if (absl::Status status = ReadHeader(peer.receive, &peer.other); !status.ok()) {
      return absl::Status(status.code(),
                          fmt::format("{}: rank {}: {}", Describe(call_), r, std::string(status.message())));
    }
    if (absl::Status status = Compare(rank(), peer.mine, r, peer.other); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Rounds::First(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in) {
  if (size() == 1) return absl::OkStatus();
  std::vector<Peer> peers;
  if (absl::Status status = Open(out, in, &peers); !status.ok()) return status;
  bool large = false;
  for (const Peer& peer : peers) large |= peer.mine.sends > kInlineBytes || peer.mine.expects > kInlineBytes;
  std::vector<OutgoingMessage> large_out;
  std::vector<IncomingMessage> large_in;
  for (const OutgoingMessage& message : out) {
    if (message.bytes <= kInlineBytes) {
      traffic_.sent_bytes += static_cast<int64_t>(message.bytes);
    } else {
      large_out.push_back(message);
    }
  }
  for (const IncomingMessage& message : in) {
    if (message.bytes > kInlineBytes) {
      large_in.push_back(message);
    } else if (message.bytes > 0) {
      std::memcpy(message.data, peers[message.rank].payload(), message.bytes);
      traffic_.received_bytes += static_cast<int64_t>(message.bytes);
    }
  }
  // Every rank knows from its own messages whether it takes part in the second round; between two ranks both know the
  // same. A third may not take part, and what comes after it has the same number on all.
  if (large) return Next(large_out, large_in);
  NextRound();
  return absl::OkStatus();
}

absl::Status Rounds::Next(std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in) {
  if (absl::Status status = Carry(out, in); !status.ok()) return status;
  for (const OutgoingMessage& message : out) traffic_.sent_bytes += static_cast<int64_t>(message.bytes);
  for (const IncomingMessage& message : in) traffic_.received_bytes += static_cast<int64_t>(message.bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Rounds::Strings(const std::string& mine) {
  std::vector<OutgoingMessage> out;
  out.reserve(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) out.push_back({r, mine.data(), mine.size()});
  }
  std::vector<Peer> peers;
  if (absl::Status status = Open(out, {}, &peers); !status.ok()) return status;
  std::vector<std::string> strings(peers.size());
  std::vector<IncomingMessage> large_in;
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) {
      strings[r] = mine;
      continue;
    }
    const uint64_t bytes = peers[r].other.sends;
    if (bytes > strings[r].max_size()) {
      return absl::FailedPreconditionError(fmt::format("{}: rank {} sends {} bytes", Describe(call_), r, bytes));
    }
    if (bytes <= kInlineBytes) {
      strings[r].assign(reinterpret_cast<const char*>(peers[r].payload()), bytes);
      traffic_.received_bytes += static_cast<int64_t>(bytes);
    } else {
      strings[r].resize(bytes);
      large_in.push_back({r, strings[r].data(), bytes});
    }
  }
  if (mine.size() <= kInlineBytes) {
    traffic_.sent_bytes += static_cast<int64_t>(mine.size() * out.size());
    out.clear();
  }
  if (!out.empty() || !large_in.empty()) {
    if (absl::Status status = Next(out, large_in); !status.ok()) return status;
  }
  return strings;
}

}  // namespace filigree::comm
