#include "worker/comm/collectives.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace filigree::comm {
namespace {

// The most that one rank sends to another in a round of a reduction: what is received waits in memory of our own and
// should still be in the cache when it is added.
constexpr int64_t kSegmentBytes = int64_t{1} << 20;

// From everybody to everybody a small array takes one round; but what a rank sends grows with the ranks.
constexpr int64_t kMostEverywhere = 3 * static_cast<int64_t>(kInlineBytes);

bool GoesEverywhere(int64_t bytes, int ranks) {
  return ranks <= 2 || (bytes <= static_cast<int64_t>(kInlineBytes) && (ranks - 1) * bytes <= kMostEverywhere);
}

struct Messages {
  std::vector<OutgoingMessage> out;
  std::vector<IncomingMessage> in;

  // Nothing is nothing to either end.
  void Send(int rank, const std::byte* data, int64_t bytes) {
    if (bytes > 0) out.push_back({rank, data, static_cast<size_t>(bytes)});
  }
  void Receive(int rank, std::byte* data, int64_t bytes) {
    if (bytes > 0) in.push_back({rank, data, static_cast<size_t>(bytes)});
  }
};

const std::byte* Bytes(const ConstArray& array) { return static_cast<const std::byte*>(array.data); }
std::byte* Bytes(const Array& array) { return static_cast<std::byte*>(array.data); }

void Copy(std::byte* to, const std::byte* from, int64_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, static_cast<size_t>(bytes));
}

// Where each of `parts` even runs of `count` elements begins; the last entry is `count`.
std::vector<int64_t> EvenStarts(int64_t count, int parts) {
  std::vector<int64_t> starts(static_cast<size_t>(parts) + 1);
  for (int64_t r = 0; r <= parts; ++r) starts[r] = count / parts * r + std::min(r, count % parts);
  return starts;
}

std::vector<int64_t> Starts(std::span<const int64_t> counts) {
  std::vector<int64_t> starts(counts.size() + 1, 0);
  for (size_t r = 0; r < counts.size(); ++r) starts[r + 1] = starts[r] + counts[r];
  return starts;
}

absl::Status Carry(Rounds& rounds, const Messages& messages, bool first) {
  return first ? rounds.First(messages.out, messages.in) : rounds.Next(messages.out, messages.in);
}

// One round in which every rank gets its run of `in` from all others; the result of all of them goes to `out`. Of rank
// r the run is [starts[r], ends[r]) in elements.
absl::Status ReduceRuns(Rounds& rounds, const std::byte* in, std::span<const int64_t> starts,
                        std::span<const int64_t> ends, ElementType type, ReduceOp op, bool first, std::byte* out) {
  const int64_t width = static_cast<int64_t>(ElementBytes(type));
  const int me = rounds.rank(), size = rounds.size();
  const int64_t mine = ends[me] - starts[me];
  std::byte* scratch = rounds.scratch().Parts(static_cast<size_t>(mine * width * (size - 1)));
  std::vector<const void*> parts(static_cast<size_t>(size));
  Messages messages;
  for (int r = 0; r < size; ++r) {
    if (r == me) {
      parts[r] = in + starts[r] * width;
      continue;
    }
    messages.Send(r, in + starts[r] * width, (ends[r] - starts[r]) * width);
    messages.Receive(r, scratch, mine * width);
    parts[r] = scratch;
    scratch += mine * width;
  }
  if (absl::Status status = Carry(rounds, messages, first); !status.ok()) return status;
  if (mine > 0) ReduceTree(parts, mine, type, op, out);
  return absl::OkStatus();
}

// Everybody gets everything and adds all of it: one round, and among two ranks as few bytes as any other way.
absl::Status ReduceEverywhere(Rounds& rounds, std::byte* data, int64_t count, ElementType type, ReduceOp op,
                              bool first) {
  const std::vector<int64_t> starts(static_cast<size_t>(rounds.size()), 0);
  const std::vector<int64_t> ends(static_cast<size_t>(rounds.size()), count);
  return ReduceRuns(rounds, data, starts, ends, type, op, first, data);
}

// Owners of even runs reduce them and give the results to all.
absl::Status ReduceByOwners(Rounds& rounds, std::byte* data, int64_t count, ElementType type, ReduceOp op, bool first) {
  const int64_t width = static_cast<int64_t>(ElementBytes(type));
  const int me = rounds.rank();
  const std::vector<int64_t> starts = EvenStarts(count, rounds.size());
  const std::span<const int64_t> ends = std::span(starts).subspan(1);
  std::byte* mine = data + starts[me] * width;
  if (absl::Status status = ReduceRuns(rounds, data, starts, ends, type, op, first, mine); !status.ok()) return status;
  Messages messages;
  for (int r = 0; r < rounds.size(); ++r) {
    if (r == me) continue;
    messages.Send(r, mine, (ends[me] - starts[me]) * width);
    messages.Receive(r, data + starts[r] * width, (ends[r] - starts[r]) * width);
  }
  return rounds.Next(messages.out, messages.in);
}

}  // namespace

absl::Status AllReduce(Rounds& rounds, Array array, ReduceOp op) {
  const int64_t width = static_cast<int64_t>(ElementBytes(array.type));
  if (rounds.size() == 1) return absl::OkStatus();
  const bool everywhere = GoesEverywhere(static_cast<int64_t>(array.bytes()), rounds.size());
  const int64_t segment = kSegmentBytes / width * (everywhere ? 1 : rounds.size());
  int64_t begin = 0;
  do {
    const int64_t count = std::min(segment, array.count - begin);
    std::byte* data = Bytes(array) + begin * width;
    const auto reduce = everywhere ? ReduceEverywhere : ReduceByOwners;
    if (absl::Status status = reduce(rounds, data, count, array.type, op, begin == 0); !status.ok()) return status;
    begin += segment;
  } while (begin < array.count);
  return absl::OkStatus();
}

Traffic TrafficOfAllReduce(int64_t count, int64_t element_bytes, int rank, int ranks) {
  if (ranks == 1) return {};
  const bool everywhere = GoesEverywhere(count * element_bytes, ranks);
  const int64_t segment = kSegmentBytes / element_bytes * (everywhere ? 1 : ranks);
  int64_t elements = 0;  // as many each way
  for (int64_t begin = 0; begin < count; begin += segment) {
    const int64_t size = std::min(segment, count - begin);
    const std::vector<int64_t> starts = EvenStarts(size, ranks);
    const int64_t own = starts[rank + 1] - starts[rank];
    elements += everywhere ? (ranks - 1) * size : size - own + (ranks - 1) * own;
  }
  return {elements * element_bytes, elements * element_bytes, 0};
}

absl::Status ReduceScatter(Rounds& rounds, ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op) {
  const int64_t width = static_cast<int64_t>(ElementBytes(in.type));
  const int64_t segment = kSegmentBytes / width;
  const std::vector<int64_t> starts = Starts(counts);
  const int64_t longest = *std::max_element(counts.begin(), counts.end());
  std::vector<int64_t> from(counts.size()), to(counts.size());
  int64_t begin = 0;
  do {
    for (size_t r = 0; r < counts.size(); ++r) {
      from[r] = starts[r] + std::min(begin, counts[r]);
      to[r] = starts[r] + std::min(begin + segment, counts[r]);
    }
    std::byte* result = Bytes(out) + (from[rounds.rank()] - starts[rounds.rank()]) * width;
    if (absl::Status status = ReduceRuns(rounds, Bytes(in), from, to, in.type, op, begin == 0, result); !status.ok()) {
      return status;
    }
    begin += segment;
  } while (begin < longest);
  return absl::OkStatus();
}

absl::Status AllGather(Rounds& rounds, ConstArray in, std::span<const int64_t> counts, Array out) {
  const int64_t width = static_cast<int64_t>(ElementBytes(in.type));
  const std::vector<int64_t> starts = Starts(counts);
  Copy(Bytes(out) + starts[rounds.rank()] * width, Bytes(in), static_cast<int64_t>(in.bytes()));
  Messages messages;
  for (int r = 0; r < rounds.size(); ++r) {
    if (r == rounds.rank()) continue;
    messages.Send(r, Bytes(in), static_cast<int64_t>(in.bytes()));
    messages.Receive(r, Bytes(out) + starts[r] * width, counts[r] * width);
  }
  return rounds.First(messages.out, messages.in);
}

absl::Status AllToAll(Rounds& rounds, ConstArray in, std::span<const int64_t> send_counts, Array out,
                      std::span<const int64_t> receive_counts) {
  const int64_t width = static_cast<int64_t>(ElementBytes(in.type));
  const std::vector<int64_t> from = Starts(send_counts), to = Starts(receive_counts);
  const int me = rounds.rank();
  Messages messages;
  for (int r = 0; r < rounds.size(); ++r) {
    if (r == me) continue;
    messages.Send(r, Bytes(in) + from[r] * width, send_counts[r] * width);
    messages.Receive(r, Bytes(out) + to[r] * width, receive_counts[r] * width);
  }
  Copy(Bytes(out) + to[me] * width, Bytes(in) + from[me] * width, send_counts[me] * width);
  return rounds.First(messages.out, messages.in);
}

// Large ones go out in slices, one to each rank, which pass theirs on: the root sends everything once and not to each.
absl::Status Broadcast(Rounds& rounds, Array array, int root) {
  const int64_t width = static_cast<int64_t>(ElementBytes(array.type));
  const int me = rounds.rank(), size = rounds.size();
  const bool whole = size == 2 || array.bytes() <= kInlineBytes;
  const std::vector<int64_t> starts = EvenStarts(array.count, size);
  const auto data = [&](int r) { return Bytes(array) + (whole ? 0 : starts[r] * width); };
  const auto bytes = [&](int r) { return (whole ? array.count : starts[r + 1] - starts[r]) * width; };
  Messages messages;
  for (int r = 0; r < size; ++r) {
    if (me == root && r != root) messages.Send(r, data(r), bytes(r));
  }
  if (me != root) messages.Receive(root, data(me), bytes(me));
  if (absl::Status status = rounds.First(messages.out, messages.in); !status.ok() || whole) return status;

  Messages passed_on;
  for (int r = 0; r < size; ++r) {
    if (r == me) continue;
    if (r != root) passed_on.Send(r, data(me), bytes(me));
    if (me != root) passed_on.Receive(r, data(r), bytes(r));
  }
  return rounds.Next(passed_on.out, passed_on.in);
}

}  // namespace filigree::comm
