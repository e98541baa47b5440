#include "worker/comm/local.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "worker/comm/host_name.h"
#include "worker/comm/lost_rank.h"

namespace filigree::comm {
namespace {

// Up to this a message is copied where it is sent, and its sender does not wait for the receiver.
constexpr size_t kEagerBytes = 16384;

// One message from one rank to another, on the stack of its sender or, if eager, on its own.
struct Letter {
  uint64_t round;
  const void* data;
  size_t bytes;
  std::unique_ptr<std::byte[]> copy;
  enum class State { kPosted, kBeingCopied, kTaken } state = State::kPosted;
};

// What the threads of a group share. Everything is guarded by the mutex; data is copied outside.
struct Hub {
  explicit Hub(int size_) : size(size_), boxes(static_cast<size_t>(size) * size), ranks(static_cast<size_t>(size)) {}

  struct Rank {
    std::condition_variable changed;
    std::optional<absl::Status> left;  // why this rank takes no part any more
    bool failed = false;               // it left because of a failure, which is everybody's
    bool interrupted = false;
  };
  std::deque<std::shared_ptr<Letter>>& box(int from, int to) { return boxes[static_cast<size_t>(from) * size + to]; }

  const int size;
  std::mutex mutex;
  std::vector<std::deque<std::shared_ptr<Letter>>> boxes;
  std::vector<Rank> ranks;
  struct Part {
    std::shared_ptr<Hub> hub;
    size_t taken = 0;
  };
  std::map<std::pair<uint64_t, std::vector<int>>, Part> parts;  // subgroups that not all of their ranks have taken
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}
  ~LocalTransport() override { Gone(absl::UnavailableError("it has left the group"), /*failed=*/false); }

  int rank() const override { return rank_; }
  int size() const override { return hub_->size; }
  std::string backend() const override { return "local"; }
  std::string host(int /*rank*/) const override { return HostName(); }

  absl::Status Exchange(uint64_t round, std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                        std::chrono::steady_clock::time_point deadline) override;
  void Interrupt() override;
  void Leave(const absl::Status& why) override { Gone(why, /*failed=*/true); }
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(uint64_t round, std::span<const int> ranks,
                                                      std::chrono::steady_clock::time_point deadline) override;

 private:
  using Letters = std::vector<std::shared_ptr<Letter>>;

  void Gone(const absl::Status& why, bool failed);
  // Why a round that waits for `missing` will not end; OK: it may.
  absl::Status WhyNever(const std::vector<int>& missing) const;
  Letters Post(uint64_t round, std::span<const OutgoingMessage> out);
  // Copies what has come for the `in` that are not `done` yet.
  absl::Status Take(uint64_t round, std::span<const IncomingMessage> in, std::vector<bool>* done,
                    std::unique_lock<std::mutex>& lock);
  // The ranks that the round still waits for.
  std::vector<int> Missing(std::span<const OutgoingMessage> out, const Letters& letters,
                           std::span<const IncomingMessage> in, const std::vector<bool>& done) const;
  void Withdraw(std::span<const OutgoingMessage> out, const Letters& letters, std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<Hub> hub_;
  const int rank_;
};

absl::Status LocalTransport::WhyNever(const std::vector<int>& missing) const {
  const auto sent_all = [&](int rank) { return hub_->box(rank, rank_).empty(); };
  for (int rank : missing) {
    if (hub_->ranks[rank].left && sent_all(rank)) return LeftStatus(*this, rank, *hub_->ranks[rank].left);
  }
  for (int rank = 0; rank < size(); ++rank) {
    if (hub_->ranks[rank].failed && sent_all(rank)) return LeftStatus(*this, rank, *hub_->ranks[rank].left);
  }
  return absl::OkStatus();
}

void LocalTransport::Gone(const absl::Status& why, bool failed) {
  const std::lock_guard lock(hub_->mutex);
  if (hub_->ranks[rank_].left) return;
  hub_->ranks[rank_].left = why;
  hub_->ranks[rank_].failed = failed;
  for (Hub::Rank& rank : hub_->ranks) rank.changed.notify_all();
}

void LocalTransport::Interrupt() {
  const std::lock_guard lock(hub_->mutex);
  hub_->ranks[rank_].interrupted = true;
  hub_->ranks[rank_].changed.notify_all();
}

LocalTransport::Letters LocalTransport::Post(uint64_t round, std::span<const OutgoingMessage> out) {
  Letters letters;
  letters.reserve(out.size());
  for (const OutgoingMessage& message : out) {
    auto letter = std::make_shared<Letter>();
    letter->round = round;
    letter->bytes = message.bytes;
    letter->data = message.data;
    if (message.bytes <= kEagerBytes) {
      letter->copy = std::make_unique_for_overwrite<std::byte[]>(message.bytes + 1);
      if (message.bytes > 0) std::memcpy(letter->copy.get(), message.data, message.bytes);
      letter->data = letter->copy.get();
    }
    letters.push_back(std::move(letter));
  }
  const std::lock_guard lock(hub_->mutex);
  for (size_t i = 0; i < out.size(); ++i) {
    hub_->box(rank_, out[i].rank).push_back(letters[i]);
    hub_->ranks[out[i].rank].changed.notify_all();
  }
  return letters;
}

absl::Status LocalTransport::Take(uint64_t round, std::span<const IncomingMessage> in, std::vector<bool>* done,
                                  std::unique_lock<std::mutex>& lock) {
  for (size_t i = 0; i < in.size(); ++i) {
    auto& box = hub_->box(in[i].rank, rank_);
    if ((*done)[i] || box.empty()) continue;
    const std::shared_ptr<Letter> letter = box.front();
    box.pop_front();
    if (letter->round != round || letter->bytes > in[i].bytes) {
      letter->state = Letter::State::kTaken;
      hub_->ranks[in[i].rank].changed.notify_all();
      return absl::FailedPreconditionError(
          fmt::format("rank {} sends {} bytes in round {}, expected were {} in round {}", in[i].rank, letter->bytes,
                      letter->round, in[i].bytes, round));
    }
    letter->state = Letter::State::kBeingCopied;
    lock.unlock();
    if (letter->bytes > 0) std::memcpy(in[i].data, letter->data, letter->bytes);
    lock.lock();
    letter->state = Letter::State::kTaken;
    (*done)[i] = true;
    if (letter->copy == nullptr) hub_->ranks[in[i].rank].changed.notify_all();
  }
  return absl::OkStatus();
}

std::vector<int> LocalTransport::Missing(std::span<const OutgoingMessage> out, const Letters& letters,
                                         std::span<const IncomingMessage> in, const std::vector<bool>& done) const {
  std::vector<int> missing;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!done[i]) missing.push_back(in[i].rank);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (letters[i]->copy == nullptr && letters[i]->state != Letter::State::kTaken) missing.push_back(out[i].rank);
  }
  return missing;
}

// Nobody reads the memory of this rank's messages any more afterwards.
void LocalTransport::Withdraw(std::span<const OutgoingMessage> out, const Letters& letters,
                              std::unique_lock<std::mutex>& lock) {
  for (size_t i = 0; i < out.size(); ++i) {
    if (letters[i]->copy != nullptr) continue;
    if (letters[i]->state == Letter::State::kPosted) std::erase(hub_->box(rank_, out[i].rank), letters[i]);
    hub_->ranks[rank_].changed.wait(lock, [&] { return letters[i]->state != Letter::State::kBeingCopied; });
  }
}

absl::Status LocalTransport::Exchange(uint64_t round, std::span<const OutgoingMessage> out,
                                      std::span<const IncomingMessage> in,
                                      std::chrono::steady_clock::time_point deadline) {
  const Letters letters = Post(round, out);
  std::vector<bool> done(in.size(), false);
  std::unique_lock lock(hub_->mutex);
  Hub::Rank& mine = hub_->ranks[rank_];
  absl::Status status;
  bool late = false;
  while (status.ok()) {
    if (mine.interrupted) {
      status = absl::CancelledError("interrupted");
      break;
    }
    status = Take(round, in, &done, lock);
    if (!status.ok()) break;
    const std::vector<int> missing = Missing(out, letters, in, done);
    if (missing.empty()) return status;
    status = WhyNever(missing);
    if (!status.ok()) break;
    if (late) status = LateStatus(*this, missing);
    // Letters that came while one was copied.
    const bool more =
        std::any_of(missing.begin(), missing.end(), [&](int rank) { return !hub_->box(rank, rank_).empty(); });
    if (status.ok() && !more) late = mine.changed.wait_until(lock, deadline) == std::cv_status::timeout;
  }
  Withdraw(out, letters, lock);
  return status;
}

absl::StatusOr<std::unique_ptr<Transport>> LocalTransport::Subgroup(
    uint64_t round, std::span<const int> ranks, std::chrono::steady_clock::time_point /*deadline*/) {
  const std::lock_guard lock(hub_->mutex);
  const std::pair key(round, std::vector<int>(ranks.begin(), ranks.end()));
  Hub::Part& part = hub_->parts[key];
  if (part.hub == nullptr) part.hub = std::make_shared<Hub>(static_cast<int>(ranks.size()));
  const std::shared_ptr<Hub> hub = part.hub;
  if (++part.taken == ranks.size()) hub_->parts.erase(key);
  const int rank = static_cast<int>(std::find(ranks.begin(), ranks.end(), rank_) - ranks.begin());
  return std::make_unique<LocalTransport>(hub, rank);
}

}  // namespace

std::vector<std::unique_ptr<Transport>> LocalTransports(int size) {
  auto hub = std::make_shared<Hub>(size);
  std::vector<std::unique_ptr<Transport>> transports;
  transports.reserve(static_cast<size_t>(size));
  for (int rank = 0; rank < size; ++rank) transports.push_back(std::make_unique<LocalTransport>(hub, rank));
  return transports;
}

}  // namespace filigree::comm
