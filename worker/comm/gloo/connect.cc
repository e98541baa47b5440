#include "worker/comm/gloo/connect.h"

#include <fmt/format.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "worker/comm/gloo/exceptions.h"
#include "worker/comm/gloo/transport.h"
#include "worker/comm/no_sigpipe.h"

namespace filigree::comm {
namespace {

using Clock = std::chrono::steady_clock;
using gloo::transport::Context;

// Ours is the deadline of a meeting, below; Gloo's own must never come first.
constexpr auto kForEver = std::chrono::hours(10);

struct Card {
  std::string host, words, address;  // words: the address as people write it
};

// Three strings, each behind a byte with its length.
std::string Write(const Card& card) {
  std::string text;
  for (const std::string& part : {card.host, card.words, card.address}) {
    const std::string cut = part.substr(0, std::min<size_t>(part.size(), 160));
    text += static_cast<char>(cut.size());
    text += cut;
  }
  return text;
}

bool Read(const std::string& text, Card* card) {
  size_t at = 0;
  for (std::string* part : {&card->host, &card->words, &card->address}) {
    if (at >= text.size()) return false;
    const size_t bytes = static_cast<unsigned char>(text[at++]);
    if (bytes > text.size() - at) return false;
    *part = text.substr(at, bytes);
    at += bytes;
  }
  return !card->address.empty();
}

bool IsLoopback(const std::string& words) { return words.starts_with("[127.") || words.starts_with("[::1]"); }

// Connects to all others at once, on a thread for each.
class Connecting {
 public:
  Connecting(Context& context, const std::vector<Card>& cards) : context_(context), cards_(cards) {
    peers_.resize(cards.size());
    threads_.reserve(cards.size());
    open_ = context_.size - 1;  // before the first of them counts down
    for (int r = 0; r < context_.size; ++r) {
      if (r == context_.rank) continue;
      threads_.emplace_back([this, r] { Connect(r); });
    }
  }

  absl::Status Finish(const GlooMeeting& meeting) {
    constexpr std::chrono::milliseconds kLook{50};
    const auto given_up = [&] { return meeting.given_up && meeting.given_up(); };
    std::unique_lock lock(mutex_);
    while (open_ > 0 && !(failed_ && meeting.missing == nullptr) && !given_up() && Clock::now() < meeting.deadline) {
      over_.wait_until(lock, std::min(meeting.deadline, Clock::now() + kLook));
    }
    std::vector<int> late;
    for (int r = 0; r < context_.size; ++r) {
      if (r != context_.rank && !peers_[static_cast<size_t>(r)].done) late.push_back(r);
    }
    lock.unlock();
    for (int r : late) context_.getPair(r)->close();  // which ends the wait of its thread
    for (std::thread& thread : threads_) thread.join();
    for (int r : late) peers_[static_cast<size_t>(r)].done = false;
    return Verdict(late);
  }

  // After Finish: the ranks that are not connected, ascending.
  std::vector<int> Missing() const {
    std::vector<int> missing;
    for (int r = 0; r < context_.size; ++r) {
      const Peer& peer = peers_[static_cast<size_t>(r)];
      if (r != context_.rank && (!peer.done || !peer.error.empty())) missing.push_back(r);
    }
    return missing;
  }

 private:
  struct Peer {
    bool done = false;
    std::string error;
  };

  void Connect(int r) {
    const std::string& address = cards_[static_cast<size_t>(r)].address;
    std::string error;
    const bool connected = Calls([&] { context_.getPair(r)->connect({address.begin(), address.end()}); }, &error);
    const std::lock_guard lock(mutex_);
    failed_ = failed_ || !connected;
    peers_[static_cast<size_t>(r)] = {true, std::move(error)};
    --open_;
    over_.notify_all();
  }

  std::string Name(int r) const {
    const Card& card = cards_[static_cast<size_t>(r)];
    return fmt::format("rank {} on {} at {}", r, card.host, card.words);
  }

  absl::Status Verdict(const std::vector<int>& late) const {
    std::string errors, names;
    for (int r : late) names += (names.empty() ? "" : " and ") + Name(r);
    for (int r = 0; r < context_.size; ++r) {
      const std::string& error = peers_[static_cast<size_t>(r)].error;
      const bool is_late = std::find(late.begin(), late.end(), r) != late.end();
      if (!error.empty() && !is_late) errors += fmt::format("{}{}: {}", errors.empty() ? "" : "; ", Name(r), error);
    }
    if (!errors.empty()) return absl::UnavailableError(fmt::format("cannot connect to {}", errors));
    if (names.empty()) return absl::OkStatus();
    return absl::DeadlineExceededError(fmt::format("{} did not connect in time", names));
  }

  Context& context_;
  const std::vector<Card>& cards_;
  std::mutex mutex_;
  std::condition_variable over_;
  std::vector<Peer> peers_;  // guarded by mutex_
  int open_ = 0;             // guarded by mutex_
  bool failed_ = false;      // guarded by mutex_
  std::vector<std::thread> threads_;
};

// What this rank has for each of the others.
std::vector<std::string> OwnCards(Context& context, const std::string& host) {
  std::vector<std::string> cards(static_cast<size_t>(context.size));
  for (int r = 0; r < context.size; ++r) {
    if (r == context.rank) continue;
    const auto& address = context.createPair(r)->address();
    const std::vector<char> bytes = address.bytes();
    cards[static_cast<size_t>(r)] = Write({host, address.str(), {bytes.begin(), bytes.end()}});
  }
  return cards;
}

absl::StatusOr<std::vector<Card>> ReadCards(const std::vector<std::string>& texts, const GlooMeeting& meeting) {
  std::vector<Card> cards(static_cast<size_t>(meeting.size));
  for (int r = 0; r < meeting.size; ++r) {
    Card& card = cards[static_cast<size_t>(r)];
    card.host = meeting.host;
    if (r == meeting.rank) continue;
    if (texts.size() != cards.size() || !Read(texts[static_cast<size_t>(r)], &card)) {
      return absl::FailedPreconditionError(
          fmt::format("what rank {} says of itself is no address; start all ranks with the same program", r));
    }
    if (card.host != meeting.host && IsLoopback(card.words)) {
      return absl::FailedPreconditionError(
          fmt::format("rank {} on {} listens at {}, which only that machine reaches; give it an address with "
                      "FILIGREE_HOST or a network interface with FILIGREE_INTERFACE",
                      r, card.host, card.words));
    }
  }
  return cards;
}

// A stranger may have connected instead of a rank: a group begins with a word of each that names both ends.
absl::Status Greet(GlooTransport& group, Clock::time_point deadline) {
  constexpr uint64_t kRound = ~uint64_t{0};
  const auto greeting = [&](int from, int to) {
    return fmt::format("filigree {} to {} of {}", from, to, group.size());
  };
  std::vector<std::string> mine(static_cast<size_t>(group.size())), theirs = mine;
  std::vector<OutgoingMessage> out;
  std::vector<IncomingMessage> in;
  for (int r = 0; r < group.size(); ++r) {
    if (r == group.rank()) continue;
    mine[static_cast<size_t>(r)] = greeting(group.rank(), r);
    theirs[static_cast<size_t>(r)].resize(greeting(r, group.rank()).size());
    out.push_back({r, mine[static_cast<size_t>(r)].data(), mine[static_cast<size_t>(r)].size()});
    in.push_back({r, theirs[static_cast<size_t>(r)].data(), theirs[static_cast<size_t>(r)].size()});
  }
  if (absl::Status status = group.Exchange(kRound, out, in, deadline); !status.ok()) return status;
  for (int r = 0; r < group.size(); ++r) {
    if (r == group.rank() || theirs[static_cast<size_t>(r)] == greeting(r, group.rank())) continue;
    return absl::FailedPreconditionError(fmt::format("what connected as rank {} on {} is another", r, group.host(r)));
  }
  return absl::OkStatus();
}

// Gloo reads what was never written where a name has no address.
bool HasAddress(const std::string& host, std::string* error) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (code != 0) *error = gai_strerror(code);
  if (found != nullptr) freeaddrinfo(found);
  return code == 0;
}

// The name that Gloo looks up where it is given none.
std::string OwnName() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, HOST_NAME_MAX) == 0 ? name : "";
}

}  // namespace

absl::StatusOr<std::shared_ptr<gloo::transport::Device>> OpenGlooDevice(const std::string& host,
                                                                        const std::string& interface) {
  const NoSigpipe quiet;  // also of the device's thread
  gloo::transport::tcp::attr attributes;
  attributes.hostname = host;
  attributes.iface = interface;
  std::shared_ptr<gloo::transport::Device> device;
  std::string error;
  const bool known = !interface.empty() || HasAddress(host.empty() ? OwnName() : host, &error);
  if (known && Calls([&] { device = gloo::transport::tcp::CreateDevice(attributes); }, &error)) return device;
  const std::string where = !interface.empty() ? fmt::format("the network interface {}", interface)
                            : !host.empty()    ? fmt::format("the address {}", host)
                                               : "the address of this machine's own name";
  return absl::InvalidArgumentError(
      fmt::format("cannot listen on {}: {}; name another with FILIGREE_HOST or FILIGREE_INTERFACE", where, error));
}

absl::StatusOr<std::unique_ptr<Transport>> ConnectGloo(std::shared_ptr<gloo::transport::Device> device,
                                                       const GlooMeeting& meeting) {
  const NoSigpipe quiet;
  GlooTransport::Group group;
  group.device = std::move(device);
  group.rank = meeting.rank;
  group.hosts.resize(static_cast<size_t>(meeting.size), meeting.host);
  if (meeting.size == 1) return std::make_unique<GlooTransport>(std::move(group));

  std::vector<std::string> mine;
  std::string error;
  const bool listens = Calls(
      [&] {
        group.context = group.device->createContext(meeting.rank, meeting.size);
        group.context->setTimeout(kForEver);
        mine = OwnCards(*group.context, meeting.host);
      },
      &error);
  if (!listens) return absl::UnavailableError(fmt::format("cannot listen for the other ranks: {}", error));
  const absl::StatusOr<std::vector<std::string>> theirs = meeting.swap_cards(mine);
  if (!theirs.ok()) return theirs.status();
  const absl::StatusOr<std::vector<Card>> cards = ReadCards(*theirs, meeting);
  if (!cards.ok()) return cards.status();
  for (int r = 0; r < meeting.size; ++r) group.hosts[static_cast<size_t>(r)] = (*cards)[static_cast<size_t>(r)].host;
  Connecting connecting(*group.context, *cards);
  if (absl::Status status = connecting.Finish(meeting); !status.ok()) {
    if (meeting.missing != nullptr) *meeting.missing = connecting.Missing();
    return status;
  }
  auto transport = std::make_unique<GlooTransport>(std::move(group));
  if (absl::Status status = Greet(*transport, meeting.deadline); !status.ok()) return status;
  return transport;
}

}  // namespace filigree::comm
