#include "worker/attach/teller.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <utility>

#include "worker/attach/report.h"

namespace filigree::attach {
namespace {

constexpr milliseconds kDeadline{1000};  // of one call
constexpr milliseconds kLastWord{2000};
constexpr int64_t kLeastUs = 10'000;  // between two words, however little is left of the lease
constexpr int64_t kUnknownUs = 86'400'000'000;
constexpr size_t kMostReasonBytes = 8192;

}  // namespace

int64_t BootTimeUs() {
  timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

Teller::Teller(AgentLink& link, TellerOptions options)
    : link_(link), options_(std::move(options)), thread_([this] { Run(); }) {}

Teller::~Teller() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Teller::Begin(int64_t generation) {
  const std::lock_guard lock(mutex_);
  generation_ = generation;
  lease_until_us_.reset();  // it went on meanwhile, and nobody told
  metrics_ = nullptr;
  address_.clear();
  failure_.clear();
  order_ = {};
  last_ = false;
  hurry_ = true;
  changed_.notify_all();
}

void Teller::Show(std::shared_ptr<const metrics::RankMetrics> metrics, std::string address) {
  const std::lock_guard lock(mutex_);
  metrics_ = std::move(metrics);
  address_ = std::move(address);
  hurry_ = true;
  changed_.notify_all();
}

void Teller::End() { TellLast({}); }

void Teller::Fail(const std::string& reason) { TellLast(reason.empty() ? "it does not say why" : reason); }

void Teller::TellLast(const std::string& failure) {
  std::unique_lock lock(mutex_);
  if (generation_ == 0) return;
  failure_ = failure.substr(0, kMostReasonBytes);
  last_ = hurry_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, kLastWord, [this] { return generation_ == 0; });
  generation_ = 0;
}

Order Teller::order() const {
  const std::lock_guard lock(mutex_);
  return order_;
}

Order Teller::Ask() {
  std::unique_lock lock(mutex_);
  const int64_t mine = ++asked_;
  hurry_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, kDeadline, [&] { return answered_ >= mine || generation_ == 0; });
  return order_;
}

Order Teller::AwaitOrder(milliseconds most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, most, [this] { return order_.directive != Directive::kGoOn; });
  return order_;
}

void Teller::WhenToLeave(std::function<void()> leave) {
  const std::lock_guard lock(mutex_);
  leave_ = std::move(leave);
  CallLeave();
}

void Teller::CallLeave() {
  if (order_.directive == Directive::kLeave && leave_) std::exchange(leave_, nullptr)();
}

void Teller::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (generation_ == 0) {
      changed_.wait(lock);
      continue;
    }
    TellOnce(lock);
    changed_.notify_all();
    // Half of what is left each time: the agent, whose lease goes on until it is over, has many chances to say so.
    const std::chrono::microseconds pause(std::max(LeaseLeftUs() / 2, kLeastUs));
    changed_.wait_for(lock, std::min<std::chrono::microseconds>(options_.interval, pause),
                      [this] { return stopping_ || hurry_; });
  }
}

void Teller::TellOnce(std::unique_lock<std::mutex>& lock) {
  const v1::TellRequest request = Compose();
  const bool last = last_;
  const int64_t asked = asked_;
  hurry_ = false;
  const std::chrono::microseconds left(std::max(LeaseLeftUs(), kLeastUs));
  lock.unlock();
  const int64_t sent_us = options_.now_us();
  const absl::StatusOr<Order> heard = link_.Tell(request, std::min<std::chrono::microseconds>(kDeadline, left));
  lock.lock();
  if (heard.ok() && heard->lease_left && generation_ == request.generation())
    lease_until_us_ = sent_us + heard->lease_left->count();
  if (const std::string why = WhyAlone(heard.status()); !why.empty()) {
    lock.unlock();
    options_.alone(why);
    lock.lock();
  }
  Hear(request.generation(), heard);
  answered_ = asked;
  const bool answered = !absl::IsUnavailable(heard.status()) && !absl::IsDeadlineExceeded(heard.status());
  if (last && answered && generation_ == request.generation()) generation_ = 0;
}

std::string Teller::WhyAlone(const absl::Status& heard) const {
  if (link_.Gone(options_.patience)) return fmt::format("the agent at {} is gone", link_.path());
  if (absl::IsNotFound(heard)) return fmt::format("the agent at {} knows this process no more", link_.path());
  if (LeaseLeftUs() > 0) return "";
  return fmt::format("the lease of the worker whose agent is at {} is over", link_.path());
}

int64_t Teller::LeaseLeftUs() const {
  return lease_until_us_ ? std::max<int64_t>(*lease_until_us_ - options_.now_us(), 0) : kUnknownUs;
}

v1::TellRequest Teller::Compose() const {
  v1::TellRequest request = ReportOf(metrics_ == nullptr ? metrics::RankReading() : metrics_->Read());
  request.set_generation(generation_);
  request.set_metrics_address(address_);
  if (failure_.empty()) return request;
  request.set_state(v1::RANK_STATE_FAILED);
  request.set_reason(failure_);
  return request;
}

void Teller::Hear(int64_t generation, const absl::StatusOr<Order>& heard) {
  if (generation != generation_) return;  // an answer about another one
  if (heard.ok()) {
    if (heard->directive != Directive::kGoOn) {
      order_ = {std::max(order_.directive, heard->directive), heard->keep};
    }
  } else if (absl::IsFailedPrecondition(heard.status())) {
    order_ = {Directive::kLeave, /*keep=*/true};  // what comes then it will say when it is asked
  } else if (!absl::IsUnavailable(heard.status()) && !absl::IsDeadlineExceeded(heard.status()) &&
             !std::exchange(complained_, true)) {
    const std::string text =
        fmt::format("filigree: the agent does not take what this rank tells: {}\n", heard.status().ToString());
    std::fputs(text.c_str(), stderr);
  }
  CallLeave();
}

}  // namespace filigree::attach
