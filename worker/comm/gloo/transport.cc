#include "worker/comm/gloo/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/comm/gloo/connect.h"
#include "worker/comm/lost_rank.h"
#include "worker/comm/no_sigpipe.h"

namespace filigree::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Came = Link::Came;

// How long a rank that leaves waits until its last words are on their way.
constexpr auto kLinger = std::chrono::seconds(1);
// Copies of messages up to this are kept for the next ones.
constexpr size_t kSpareBytes = size_t{4} << 20;

// Has it come, of a rank that has said farewell? What it sent came before that; but a wait may end early for reasons of
// this process (waker.h), so one that says "not yet" is no answer.
template <typename Await>
bool HasCome(Await await) {
  constexpr int kLooks = 4;
  for (int look = 0; look < kLooks; ++look) {
    const Came came = await();
    if (came != Came::kNotYet) return came == Came::kYes;
  }
  return false;
}

}  // namespace

GlooTransport::GlooTransport(Group group) : group_(std::move(group)), left_(group_.hosts.size()) {
  const NoSigpipe quiet;
  links_.resize(group_.hosts.size());
  for (int r = 0; r < static_cast<int>(links_.size()); ++r) {
    if (r != group_.rank) links_[static_cast<size_t>(r)] = std::make_unique<Link>(*group_.context, r, waker_);
  }
}

GlooTransport::~GlooTransport() {
  const NoSigpipe quiet;
  GlooTransport::Leave(absl::OkStatus());
  const auto end = Clock::now() + kLinger;
  for (const std::unique_ptr<Link>& link : links_) {
    while (link != nullptr && link->AwaitFarewells() == Came::kNotYet && Clock::now() < end) {
    }
  }
}

void GlooTransport::Leave(const absl::Status& why) {
  if (std::exchange(has_left_, true)) return;
  const NoSigpipe quiet;
  for (const std::unique_ptr<Link>& link : links_) {
    if (link != nullptr) link->SendFarewell(static_cast<uint64_t>(why.code()), std::string(why.message()));
  }
}

void GlooTransport::Interrupt() {
  interrupted_.store(true);
  waker_.WakeNow();
}

void GlooTransport::TakeFarewell(int rank) {
  const Frame& frame = link(rank).frame();
  const auto code = static_cast<absl::StatusCode>(frame.round);
  const std::string words(reinterpret_cast<const char*>(link(rank).payload()),
                          std::min<size_t>(frame.bytes, Link::kFarewellBytes));
  const bool failed = code != absl::StatusCode::kOk;
  left_[static_cast<size_t>(rank)] =
      LeftStatus(*this, rank, failed ? absl::Status(code, words) : absl::UnavailableError("it has left the group"));
  if (failed && !failed_) failed_ = rank;
}

// Its process is gone, or the way to it: nobody can go on without it.
void GlooTransport::TakeLoss(int rank) {
  if (left_[static_cast<size_t>(rank)]) return;
  left_[static_cast<size_t>(rank)] = GoneStatus(*this, rank, link(rank).how());
  if (!failed_) failed_ = rank;
}

absl::Status GlooTransport::WhyNever(const std::vector<int>& missing) const {
  for (int rank : missing) {
    if (left_[static_cast<size_t>(rank)]) return *left_[static_cast<size_t>(rank)];
  }
  return failed_ ? *left_[static_cast<size_t>(*failed_)] : absl::OkStatus();
}

std::vector<int> GlooTransport::Round::Missing() const {
  std::vector<int> missing;
  for (const Incoming& message : in) {
    if (!message.done) missing.push_back(message.message.rank);
  }
  for (const Outgoing& message : out) {
    if (!message.done) missing.push_back(message.message.rank);
  }
  return missing;
}

bool GlooTransport::Round::AllReceived() const {
  return std::all_of(in.begin(), in.end(), [](const Incoming& message) { return message.done; });
}

std::shared_ptr<Block> GlooTransport::BlockOf(const OutgoingMessage& message, const Round& round) {
  for (const Copy& copy : copies_) {
    if (copy.from == message.data && copy.block->bytes == message.bytes) return copy.block;
  }
  std::shared_ptr<Block> block;
  for (const std::shared_ptr<Block>& spare : spare_) {
    if (spare.use_count() == 1 && message.bytes <= kSpareBytes) block = spare;
  }
  if (block == nullptr) {
    block = std::make_shared<Block>();
    block->data = std::make_unique_for_overwrite<std::byte[]>(std::max(message.bytes, kSpareBytes));
    if (message.bytes <= kSpareBytes && spare_.size() < round.out.size()) spare_.push_back(block);
  }
  block->bytes = message.bytes;
  std::memcpy(block->data.get(), message.data, message.bytes);
  copies_.push_back({message.data, block});
  return block;
}

void GlooTransport::Begin(Round& round, Outgoing& out) {
  Link& to = link(out.message.rank);
  const bool small = out.message.bytes <= kSmallMessage;
  const Came room = to.AwaitRoom();
  if (room == Came::kNotYet) return;
  if (room == Came::kGone && !small) return;  // why is still to be read
  out.begun = true;
  round.moved = true;
  if (!small) return to.SendLarge(round.number, BlockOf(out.message, round));
  out.done = true;  // copied: nobody waits for it
  if (room == Came::kYes) to.SendSmall(round.number, out.message.data, out.message.bytes);
}

// The frame at the beginning of a message.
absl::Status GlooTransport::Open(const Round& round, Incoming& in) {
  Link& from = link(in.message.rank);
  const Frame frame = from.frame();
  if (frame.magic != Frame::kMagic || frame.round != round.number || frame.bytes > in.message.bytes) {
    return absl::FailedPreconditionError(fmt::format("rank {} sends {} bytes in round {}, expected were {} in round {}",
                                                     in.message.rank, frame.bytes, frame.round, in.message.bytes,
                                                     round.number));
  }
  in.begun = true;
  in.bytes = frame.bytes;
  if (in.bytes > kSmallMessage) {
    from.BeginChunks(in.bytes);
  } else {
    if (in.bytes > 0) std::memcpy(in.message.data, from.payload(), in.bytes);
    in.done = true;
  }
  from.TakeFrame();
  return absl::OkStatus();
}

void GlooTransport::TakeChunk(Incoming& in) {
  Link& from = link(in.message.rank);
  const std::span<const std::byte> chunk = from.chunk();
  std::memcpy(static_cast<std::byte*>(in.message.data) + in.filled, chunk.data(), chunk.size());
  in.filled += chunk.size();
  from.TakeChunk();
  in.done = in.filled == in.bytes;
}

absl::Status GlooTransport::Receive(Round& round, Incoming& in) {
  const int rank = in.message.rank;
  Link& from = link(rank);
  while (!in.done && !left_[static_cast<size_t>(rank)]) {
    const Came came = in.begun ? from.AwaitChunk() : from.AwaitFrame();
    if (came == Came::kGone) TakeLoss(rank);
    if (came != Came::kYes) break;
    round.moved = true;
    if (in.begun) {
      TakeChunk(in);
    } else if (from.frame().kind == Frame::Kind::kFarewell) {
      TakeFarewell(rank);
    } else if (absl::Status status = Open(round, in); !status.ok()) {
      return status;
    }
  }
  // A rank that gives up a message half sent says so beside it. What it has sent came before that, perhaps since we
  // looked.
  if (in.begun && !in.done && !left_[static_cast<size_t>(rank)] && from.AwaitFrame() == Came::kYes &&
      from.frame().kind == Frame::Kind::kFarewell) {
    while (!in.done && HasCome([&] { return from.AwaitChunk(); })) TakeChunk(in);
    if (!in.done) TakeFarewell(rank);
  }
  return absl::OkStatus();
}

// Of ranks whose frames this round does not wait for.
void GlooTransport::ListenForFarewells(const Round& round) {
  for (int r = 0; r < size(); ++r) {
    const bool heard = std::any_of(round.in.begin(), round.in.end(),
                                   [&](const Incoming& in) { return in.message.rank == r && !in.done; });
    if (r == rank() || heard || left_[static_cast<size_t>(r)]) continue;
    const Came came = link(r).AwaitFrame();
    if (came == Came::kYes && link(r).frame().kind == Frame::Kind::kFarewell) TakeFarewell(r);
    if (came == Came::kGone) TakeLoss(r);
  }
}

// A rank that leaves in peace has received what was sent to it, so that this side's end of it is there by now: to be
// looked for before anybody is missed. Of others it is looked for last, as that waits.
void GlooTransport::TakeSent(Round& round) {
  const bool last = round.AllReceived();
  for (Outgoing& out : round.out) {
    const int to = out.message.rank;
    const bool left = left_[static_cast<size_t>(to)].has_value();
    if (!out.begun || out.done || !(last || left)) continue;
    out.done = left ? HasCome([&] { return link(to).AwaitSent(); }) : link(to).AwaitSent() == Came::kYes;
  }
}

absl::Status GlooTransport::Carry(Round& round, Clock::time_point deadline) {
  while (true) {
    const bool late = Clock::now() >= deadline;
    round.moved = false;
    for (Outgoing& out : round.out) {
      if (!out.begun) Begin(round, out);
    }
    for (Incoming& in : round.in) {
      if (absl::Status status = Receive(round, in); !status.ok()) return status;
    }
    TakeSent(round);
    if (round.Missing().empty()) return absl::OkStatus();
    if (interrupted_.load()) return absl::CancelledError("interrupted");
    if (!round.moved) {
      ListenForFarewells(round);
      TakeSent(round);
    }
    const std::vector<int> missing = round.Missing();
    if (missing.empty()) return absl::OkStatus();
    if (absl::Status status = WhyNever(missing); !status.ok()) return status;
    if (late) return LateStatus(*this, missing);
  }
}

absl::Status GlooTransport::Exchange(uint64_t round, std::span<const OutgoingMessage> out,
                                     std::span<const IncomingMessage> in, Clock::time_point deadline) {
  if (interrupted_.load()) return absl::CancelledError("interrupted");
  const NoSigpipe quiet;
  Round under_way;
  under_way.number = round;
  under_way.in.reserve(in.size());
  under_way.out.reserve(out.size());
  for (const IncomingMessage& message : in) under_way.in.push_back({message});
  for (const OutgoingMessage& message : out) under_way.out.push_back({message});
  absl::Status status = Carry(under_way, deadline);
  copies_.clear();
  return status;
}

absl::StatusOr<std::unique_ptr<Transport>> GlooTransport::Subgroup(uint64_t round, std::span<const int> ranks,
                                                                   Clock::time_point deadline) {
  GlooMeeting meeting;
  meeting.rank = static_cast<int>(std::find(ranks.begin(), ranks.end(), rank()) - ranks.begin());
  meeting.size = static_cast<int>(ranks.size());
  meeting.deadline = deadline;
  meeting.host = host(rank());
  meeting.given_up = [this] { return interrupted_.load(); };
  meeting.swap_cards = [&](const std::vector<std::string>& mine) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> theirs(mine.size(), std::string(kMostCardBytes, '\0'));
    std::vector<OutgoingMessage> out;
    std::vector<IncomingMessage> in;
    out.reserve(ranks.size());
    in.reserve(ranks.size());
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank()) continue;
      out.push_back({ranks[i], mine[i].data(), mine[i].size()});
      in.push_back({ranks[i], theirs[i].data(), theirs[i].size()});
    }
    if (absl::Status status = Exchange(round, out, in, deadline); !status.ok()) return status;
    return theirs;
  };
  return ConnectGloo(group_.device, meeting);
}

}  // namespace filigree::comm
