#include "worker/attach/teller.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "worker/attach/report.h"

namespace filigree::attach {
namespace {

constexpr milliseconds kDeadline{1000};  // of one call
constexpr milliseconds kLastWord{2000};
constexpr size_t kMostReasonBytes = 8192;

}  // namespace

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
    const v1::TellRequest request = Compose();
    const bool last = last_;
    const int64_t asked = asked_;
    hurry_ = false;
    lock.unlock();
    const absl::StatusOr<Order> heard = link_.Tell(request, kDeadline);
    const bool gone = link_.Gone(options_.patience);
    if (gone || absl::IsNotFound(heard.status())) {
      options_.alone(gone ? fmt::format("the agent at {} is gone", link_.path())
                          : fmt::format("the agent at {} knows this process no more", link_.path()));
    }
    lock.lock();
    Hear(request.generation(), heard);
    answered_ = asked;
    const bool answered = !absl::IsUnavailable(heard.status()) && !absl::IsDeadlineExceeded(heard.status());
    if (last && answered && generation_ == request.generation()) generation_ = 0;
    changed_.notify_all();
    changed_.wait_for(lock, options_.interval, [this] { return stopping_ || hurry_; });
  }
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
