#include "worker/comm/communicator.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "worker/comm/call.h"
#include "worker/comm/collectives.h"
#include "worker/comm/operation_queue.h"

namespace filigree::comm {
namespace {

using Counts = std::vector<int64_t>;

Counts Copied(std::span<const int64_t> counts) { return {counts.begin(), counts.end()}; }

uint64_t Digest(std::span<const int64_t> counts) { return XXH3_64bits(counts.data(), counts.size_bytes()); }

absl::Status CheckArray(const char* name, const ConstArray& array, const Transport& transport) {
  if (array.count < 0) return absl::InvalidArgumentError(fmt::format("{} has {} elements", name, array.count));
  if (array.data == nullptr && array.count > 0) {
    return absl::InvalidArgumentError(fmt::format("{} of {} {} is null", name, array.count, Name(array.type)));
  }
  if (!transport.Holds(array.memory)) {
    return absl::UnimplementedError(
        fmt::format("{} lies on a device, which the {} backend does not reach; copy it to the "
                    "host first",
                    name, transport.backend()));
  }
  return absl::OkStatus();
}

absl::Status CheckReducible(ElementType type) {
  if (Reducible(type)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} travel and are not reduced", Name(type)));
}

// counts: one a rank, none negative, together as many elements as `array` has.
absl::Status CheckCounts(const char* name, std::span<const int64_t> counts, const char* array_name,
                         const ConstArray& array, int size) {
  if (counts.size() != static_cast<size_t>(size)) {
    return absl::InvalidArgumentError(fmt::format("{} {} for {} ranks", counts.size(), name, size));
  }
  int64_t sum = 0;
  for (size_t r = 0; r < counts.size(); ++r) {
    if (counts[r] < 0 || __builtin_add_overflow(sum, counts[r], &sum)) {
      return absl::InvalidArgumentError(fmt::format("{}: {} for rank {}", name, counts[r], r));
    }
  }
  if (sum == array.count) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} add up to {}, {} has {}", name, sum, array_name, array.count));
}

absl::Status CheckOwn(const char* name, const ConstArray& array, int64_t count) {
  if (array.count == count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} has {} elements, this rank's count is {}", name, array.count, count));
}

absl::Status CheckTypes(const ConstArray& in, const ConstArray& out) {
  if (in.type == out.type) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("in is {}, out is {}", Name(in.type), Name(out.type)));
}

absl::Status First(std::initializer_list<absl::Status> statuses) {
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

struct Communicator::Impl {
  Impl(std::unique_ptr<Transport> transport, Options options) : queue(std::move(transport), options.deadline) {}

  OperationQueue queue;
  std::string what;

  const Transport& transport() const { return queue.transport(); }
  int rank() const { return transport().rank(); }
  int size() const { return transport().size(); }
  Call NewCall(Kind kind) const {
    Call call;
    call.kind = kind;
    call.what = what;
    return call;
  }

  Operation AllReduce(Array array, ReduceOp op) const;
  Operation ReduceScatter(ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op) const;
  Operation AllGather(ConstArray in, std::span<const int64_t> counts, Array out) const;
  Operation AllToAll(ConstArray in, std::span<const int64_t> send, Array out, std::span<const int64_t> receive) const;
  Operation Broadcast(Array array, int root) const;
  Operation Barrier() const;
};

Operation Communicator::Impl::AllReduce(Array array, ReduceOp op) const {
  Call call = NewCall(Kind::kAllReduce);
  call.type = array.type;
  call.reduce = op;
  call.count = array.count;
  return {std::move(call), First({CheckArray("array", array, transport()), CheckReducible(array.type)}),
          [=](Rounds& rounds) { return comm::AllReduce(rounds, array, op); }};
}

Operation Communicator::Impl::ReduceScatter(ConstArray in, std::span<const int64_t> counts, Array out,
                                            ReduceOp op) const {
  Call call = NewCall(Kind::kReduceScatter);
  call.type = in.type;
  call.reduce = op;
  call.count = in.count;
  call.counts_digest = Digest(counts);
  absl::Status refused =
      First({CheckArray("in", in, transport()), CheckArray("out", out, transport()), CheckTypes(in, out),
             CheckReducible(in.type), CheckCounts("counts", counts, "in", in, size())});
  if (refused.ok()) refused = CheckOwn("out", out, counts[rank()]);
  return {std::move(call), std::move(refused),
          [=, counts = Copied(counts)](Rounds& rounds) { return comm::ReduceScatter(rounds, in, counts, out, op); }};
}

Operation Communicator::Impl::AllGather(ConstArray in, std::span<const int64_t> counts, Array out) const {
  Call call = NewCall(Kind::kAllGather);
  call.type = in.type;
  call.count = out.count;
  call.counts_digest = Digest(counts);
  absl::Status refused = First({CheckArray("in", in, transport()), CheckArray("out", out, transport()),
                                CheckTypes(in, out), CheckCounts("counts", counts, "out", out, size())});
  if (refused.ok()) refused = CheckOwn("in", in, counts[rank()]);
  return {std::move(call), std::move(refused),
          [=, counts = Copied(counts)](Rounds& rounds) { return comm::AllGather(rounds, in, counts, out); }};
}

Operation Communicator::Impl::AllToAll(ConstArray in, std::span<const int64_t> send, Array out,
                                       std::span<const int64_t> receive) const {
  Call call = NewCall(Kind::kAllToAll);
  call.type = in.type;
  absl::Status refused = First({CheckArray("in", in, transport()), CheckArray("out", out, transport()),
                                CheckTypes(in, out), CheckCounts("send_counts", send, "in", in, size()),
                                CheckCounts("receive_counts", receive, "out", out, size())});
  if (refused.ok() && send[rank()] != receive[rank()]) {
    refused = absl::InvalidArgumentError(
        fmt::format("rank {} sends itself {} elements and expects {}", rank(), send[rank()], receive[rank()]));
  }
  return {std::move(call), std::move(refused), [=, send = Copied(send), receive = Copied(receive)](Rounds& rounds) {
            return comm::AllToAll(rounds, in, send, out, receive);
          }};
}

Operation Communicator::Impl::Broadcast(Array array, int root) const {
  Call call = NewCall(Kind::kBroadcast);
  call.type = array.type;
  call.count = array.count;
  call.root = root;
  absl::Status refused = CheckArray("array", array, transport());
  if (refused.ok() && (root < 0 || root >= size())) {
    refused = absl::InvalidArgumentError(fmt::format("root {} in a group of {} ranks", root, size()));
  }
  return {std::move(call), std::move(refused), [=](Rounds& rounds) { return comm::Broadcast(rounds, array, root); }};
}

Operation Communicator::Impl::Barrier() const {
  return {NewCall(Kind::kBarrier), absl::OkStatus(), [](Rounds& rounds) { return rounds.First({}, {}); }};
}

Communicator::Communicator(std::unique_ptr<Transport> transport, Options options)
    : impl_(std::make_unique<Impl>(std::move(transport), options)) {}
Communicator::~Communicator() = default;

int Communicator::rank() const { return impl_->rank(); }
int Communicator::size() const { return impl_->size(); }
std::string Communicator::backend() const { return impl_->transport().backend(); }
std::string Communicator::host(int rank) const { return impl_->transport().host(rank); }
void Communicator::Name(std::string what) { impl_->what = std::move(what); }
void Communicator::SetDeadline(std::chrono::milliseconds deadline) { impl_->queue.SetDeadline(deadline); }

void Communicator::Abort(absl::Status why) { impl_->queue.Abort(std::move(why)); }
absl::Status Communicator::broken() const { return impl_->queue.broken(); }
Traffic Communicator::traffic() const { return impl_->queue.traffic(); }

Pending Communicator::AllReduceAsync(Array array, ReduceOp op) {
  return impl_->queue.Submit(impl_->AllReduce(array, op));
}
absl::Status Communicator::AllReduce(Array array, ReduceOp op) { return impl_->queue.Run(impl_->AllReduce(array, op)); }
Pending Communicator::ReduceScatterAsync(ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op) {
  return impl_->queue.Submit(impl_->ReduceScatter(in, counts, out, op));
}
absl::Status Communicator::ReduceScatter(ConstArray in, std::span<const int64_t> counts, Array out, ReduceOp op) {
  return impl_->queue.Run(impl_->ReduceScatter(in, counts, out, op));
}
Pending Communicator::AllGatherAsync(ConstArray in, std::span<const int64_t> counts, Array out) {
  return impl_->queue.Submit(impl_->AllGather(in, counts, out));
}
absl::Status Communicator::AllGather(ConstArray in, std::span<const int64_t> counts, Array out) {
  return impl_->queue.Run(impl_->AllGather(in, counts, out));
}
Pending Communicator::AllToAllAsync(ConstArray in, std::span<const int64_t> send_counts, Array out,
                                    std::span<const int64_t> receive_counts) {
  return impl_->queue.Submit(impl_->AllToAll(in, send_counts, out, receive_counts));
}
absl::Status Communicator::AllToAll(ConstArray in, std::span<const int64_t> send_counts, Array out,
                                    std::span<const int64_t> receive_counts) {
  return impl_->queue.Run(impl_->AllToAll(in, send_counts, out, receive_counts));
}
Pending Communicator::BroadcastAsync(Array array, int root) {
  return impl_->queue.Submit(impl_->Broadcast(array, root));
}
absl::Status Communicator::Broadcast(Array array, int root) { return impl_->queue.Run(impl_->Broadcast(array, root)); }
Pending Communicator::BarrierAsync() { return impl_->queue.Submit(impl_->Barrier()); }
absl::Status Communicator::Barrier() { return impl_->queue.Run(impl_->Barrier()); }

absl::StatusOr<std::vector<std::string>> Communicator::AllGatherStrings(const std::string& mine) {
  absl::StatusOr<std::vector<std::string>> strings;
  const absl::Status status = impl_->queue.Run({impl_->NewCall(Kind::kStrings), absl::OkStatus(), [&](Rounds& rounds) {
                                                  strings = rounds.Strings(mine);
                                                  return strings.status();
                                                }});
  if (!status.ok()) return status;
  return strings;
}

// Once all have come to make a group, it takes no longer than to reach each other.
constexpr std::chrono::seconds kToReachEachOther{30};

absl::StatusOr<std::unique_ptr<Communicator>> Communicator::Split(int color, int key) {
  using Place = std::array<int64_t, 3>;  // color, key, rank
  std::vector<Place> places(static_cast<size_t>(size()));
  const Place mine = {color, key, rank()};
  const Counts counts(places.size(), static_cast<int64_t>(sizeof(Place)));
  absl::StatusOr<std::unique_ptr<Transport>> part;
  const absl::Status status =
      impl_->queue.Run({impl_->NewCall(Kind::kSplit), absl::OkStatus(), [&](Rounds& rounds) {
                          const ConstArray in = {&mine, sizeof(Place)};
                          const Array out = {places.data(), static_cast<int64_t>(places.size() * sizeof(Place))};
                          if (absl::Status sent = comm::AllGather(rounds, in, counts, out); !sent.ok()) return sent;
                          std::sort(places.begin(), places.end());
                          std::vector<int> ranks;
                          ranks.reserve(places.size());
                          for (const Place& place : places) {
                            if (place[0] == color) ranks.push_back(static_cast<int>(place[2]));
                          }
                          const auto soon = std::chrono::steady_clock::now() + kToReachEachOther;
                          part =
                              rounds.transport().Subgroup(rounds.NextRound(), ranks, std::min(rounds.deadline(), soon));
                          return part.status();
                        }});
  if (!status.ok()) return status;
  return std::make_unique<Communicator>(*std::move(part), Options{impl_->queue.deadline()});
}

}  // namespace filigree::comm
