#include "worker/agent/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "proto/rpc/status.h"

namespace filigree::agent {
namespace {

using std::chrono::microseconds;

constexpr int64_t kRetryUs = 500'000;
constexpr int64_t kLeastUs = 20'000;         // between two heartbeats, however much there is to say
constexpr int64_t kNewsWaitUs = 20'000'000;  // a call that is held open
constexpr size_t kMostFigureBytes = 2 << 20, kMostReasonBytes = 1 << 20;  // of one heartbeat

// The coordinator looked at what was sent and will say the same again.
bool IsFinal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status);
}

bool IncarnationIsOver(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

std::string RandomName(size_t bytes) {
  std::random_device dice;
  std::string name;
  for (size_t i = 0; i < bytes; ++i) name += fmt::format("{:02x}", dice() & 0xFF);
  return name;
}

Session::Session(WorkerFacts facts, Stub& stub, LeaseGuard& guard, SessionHooks hooks)
    : facts_(std::move(facts)), stub_(stub), guard_(guard), hooks_(std::move(hooks)), nonce_(RandomName(16)) {}

void Session::Start() {
  thread_ = std::thread([this] { Run(); });
  news_thread_ = std::thread([this] { ListenForNews(); });
}

void Session::Wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_all();
}

void Session::Drain() {
  draining_ = true;
  Wake();
}

void Session::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  wake_.notify_all();
  calls_.Close();
  if (thread_.joinable()) thread_.join();
  if (news_thread_.joinable()) news_thread_.join();
  guard_.End();
  const std::optional<v1::Speaker> who = speaker();
  if (!who) return;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + facts_.timeout);
  v1::LeaveRequest request;
  *request.mutable_speaker() = *who;
  v1::LeaveReply reply;
  // Where nobody hears it, the lease runs out.
  stub_.Leave(&context, request, &reply);
}

std::optional<v1::Speaker> Session::speaker() const {
  const std::lock_guard lock(mutex_);
  return speaker_;
}

absl::Status Session::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

bool Session::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Session::Pause(int64_t us) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, microseconds(us), [this] { return woken_ || stopping_; });
  woken_ = false;
}

// What stays wrong is said when it begins, not at every try.
// Numbers, as of milliseconds that are left, do not make it another text.
void Session::SayOnce(const std::string& text) {
  std::string words = text;
  std::erase_if(words, [](char c) { return c >= '0' && c <= '9'; });
  if (said_ != words && !text.empty()) hooks_.say(text);
  said_ = words;
}

void Session::Run() {
  while (!stopping()) {
    if (!Register()) {
      if (!refused().ok()) return;
      Pause(kRetryUs);
      continue;
    }
    Heartbeats();
    if (stopping()) return;
    {
      const std::lock_guard lock(mutex_);
      speaker_.reset();
    }
    hooks_.over(lost_why_);
    while (!hooks_.alone() && !stopping()) Pause(kLeastUs);
    replaces_ = std::exchange(nonce_, RandomName(16));
  }
}

bool Session::Register() {
  v1::RegisterRequest request;
  request.set_name(facts_.name);
  request.set_host(facts_.host);
  request.set_slots(facts_.slots);
  request.set_nonce(nonce_);
  request.set_replaces(replaces_);
  v1::RegisterReply reply;
  const int64_t sent_us = NowUs();
  const absl::Status status = rpc::FromGrpc(CallNow(calls_, stub_, &Stub::Register, request, &reply, facts_.timeout));
  if (!status.ok()) {
    if (stopping()) return false;
    if (IsFinal(status)) {
      const std::lock_guard lock(mutex_);
      refused_ = status;
    } else {
      SayOnce(fmt::format("not registered yet: {}", std::string(status.message())));
    }
    if (absl::IsFailedPrecondition(status)) nonce_ = RandomName(16);
    return false;
  }
  said_.clear();
  epoch_ = reply.epoch();
  lease_us_ = std::clamp<int64_t>(reply.lease_us(), 0, int64_t{3600} * 1'000'000);
  heartbeat_us_ = std::clamp<int64_t>(reply.heartbeat_us(), kLeastUs, std::max(lease_us_ / 2, kLeastUs));
  figures_sent_.clear();
  v1::Speaker who;
  who.set_worker(facts_.name);
  who.set_incarnation(reply.incarnation());
  if (!guard_.Begin(sent_us + lease_us_)) return false;
  {
    const std::lock_guard lock(mutex_);
    speaker_ = who;
  }
  hooks_.begun();
  hooks_.say(fmt::format("registered as {} on host {} with {} slots, incarnation {}", facts_.name, facts_.host,
                         facts_.slots, reply.incarnation()));
  return true;
}

// Until the incarnation is over or the worker ends.
void Session::Heartbeats() {
  int64_t due_us = 0;
  bool bare = false;
  for (int64_t sequence = 1; !stopping(); ++sequence) {
    const int64_t now_us = NowUs();
    if (!hurry_ && now_us < due_us) Pause(due_us - now_us);
    if (stopping()) return;
    if (!guard_.Holds()) {
      lost_why_ = "the lease is over: the coordinator was not reached in time";
      return;
    }
    due_us = NowUs() + heartbeat_us_;
    const absl::Status status = Heartbeat(sequence, bare);
    if (status.ok()) {
      SayOnce(again_ && !hurry_ ? "the coordinator can keep nothing just now (its log says why); the lease is renewed"
                                : "");
      if (!bare && refusal_.Over()) hooks_.say("the coordinator takes whole heartbeats again");
      bare = false;
    } else if (IncarnationIsOver(status)) {
      lost_why_ = std::string(status.message());
      return;
    } else if (IsFinal(status)) {
      // Better to say little of the ranks than to lose all of them.
      if (refusal_.Again(NowUs()))
        hooks_.say(fmt::format("a heartbeat was refused, it is sent again and says less of the ranks: {}",
                               std::string(status.message())));
      bare = true;
      due_us = NowUs() + kLeastUs;
    } else if (!absl::IsAborted(status) && !stopping()) {
      SayOnce(fmt::format("the coordinator is not reached: {}", std::string(status.message())));
      due_us = NowUs() + std::min<int64_t>(heartbeat_us_, 200'000);
    }
    std::this_thread::sleep_for(microseconds(kLeastUs));
  }
}

absl::Status Session::Heartbeat(int64_t sequence, bool bare) {
  const int64_t sent_us = NowUs();
  const v1::HeartbeatRequest request = NextHeartbeat(sequence, bare);
  v1::HeartbeatReply reply;
  absl::Status status = rpc::FromGrpc(
      CallNow(calls_, stub_, &Stub::Heartbeat, request, &reply, microseconds(std::max(lease_us_ / 2, kLeastUs))));
  if (!status.ok()) return status;
  std::map<std::string, std::string> figures;  // of jobs that are here still
  for (const v1::RankReport& report : request.ranks()) {
    if (report.has_figures()) figures[report.job()] = report.figures().SerializeAsString();
    if (auto before = figures_sent_.extract(report.job()); !before.empty()) figures.insert(std::move(before));
  }
  figures_sent_ = std::move(figures);
  Obey(sent_us, reply);
  if (again_) return absl::OkStatus();
  heard_us_ = sent_us;
  if (request.leaving()) drain_heard_ = true;
  return absl::OkStatus();
}

void Session::Obey(int64_t sent_us, const v1::HeartbeatReply& reply) {
  lease_us_ = std::clamp<int64_t>(reply.lease_us(), 0, int64_t{3600} * 1'000'000);
  if (!guard_.Renew(sent_us + lease_us_)) return;  // too late, whatever it says
  const bool new_epoch = epoch_ != reply.epoch();
  epoch_ = reply.epoch();
  if (new_epoch) {
    figures_sent_.clear();
    hooks_.say(fmt::format("the coordinator was started anew (epoch {})", epoch_));
    hooks_.new_epoch();
  }
  again_ = reply.again();
  hurry_ = again_ && new_epoch;  // in the same one it can keep nothing just now
  if (again_) return;
  hooks_.follow(reply);
}

// As much of the reports as one message should carry. Figures are left out where the coordinator has them.
v1::HeartbeatRequest Session::NextHeartbeat(int64_t sequence, bool bare) {
  v1::HeartbeatRequest request;
  *request.mutable_speaker() = *speaker();
  request.set_epoch(epoch_);
  request.set_sequence(sequence);
  request.set_leaving(draining_);
  size_t figure_bytes = 0, reason_bytes = 0;
  for (v1::RankReport& report : hooks_.reports()) {
    if (bare) {
      v1::RankReport less;
      less.set_job(report.job());
      less.set_generation(report.generation());
      less.set_rank(report.rank());
      less.set_state(report.state());
      report = std::move(less);
    }
    figure_bytes += report.figures().ByteSizeLong();
    const auto sent = figures_sent_.find(report.job());
    const bool known = sent != figures_sent_.end() && sent->second == report.figures().SerializeAsString();
    if (known || figure_bytes > kMostFigureBytes) report.clear_figures();
    reason_bytes += report.reason().size();
    if (reason_bytes > kMostReasonBytes) report.set_reason("see the log on the worker");
    *request.add_ranks() = std::move(report);
  }
  return request;
}

void Session::ListenForNews() {
  while (!stopping()) {
    const std::optional<v1::Speaker> who = speaker();
    v1::AwaitNewsReply reply;
    grpc::Status status(grpc::StatusCode::UNAVAILABLE, "not registered");
    if (who) {
      v1::AwaitNewsRequest request;
      *request.mutable_speaker() = *who;
      request.set_wait_us(kNewsWaitUs);
      status = CallNow(calls_, stub_, &Stub::AwaitNews, request, &reply, microseconds(kNewsWaitUs + 5'000'000));
    }
    if (status.ok() && reply.news()) Wake();
    std::unique_lock lock(mutex_);
    // A coordinator that answers at once is not to be asked in a loop.
    wake_.wait_for(lock, microseconds(status.ok() ? 20'000 : 300'000), [this] { return stopping_; });
  }
}

}  // namespace filigree::agent
