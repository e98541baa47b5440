#include "worker/agent/log_sender.h"

#include <chrono>
#include <utility>

namespace filigree::agent {
namespace {

constexpr std::chrono::milliseconds kPause(500), kSilence(30'000);
constexpr std::chrono::seconds kDeadline(5);

// The coordinator will say the same of these lines whenever they come.
bool NeverTaken(grpc::StatusCode code) {
  return code == grpc::StatusCode::NOT_FOUND || code == grpc::StatusCode::PERMISSION_DENIED ||
         code == grpc::StatusCode::INVALID_ARGUMENT || code == grpc::StatusCode::FAILED_PRECONDITION;
}

}  // namespace

LogSender::LogSender(LogBook& book, v1::Workers::StubInterface& coordinator,
                     std::function<std::optional<v1::Speaker>()> speaker)
    : book_(book), coordinator_(coordinator), speaker_(std::move(speaker)), thread_([this] { Run(); }) {}

LogSender::~LogSender() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  calls_.Close();
  thread_.join();
}

bool LogSender::SendSome() {
  const std::optional<v1::Speaker> speaker = speaker_();
  if (!speaker) return false;
  v1::SendLogRequest request = book_.Unsent();
  if (request.parts().empty()) return false;
  *request.mutable_speaker() = *speaker;
  v1::SendLogReply reply;
  const grpc::Status status = CallNow(calls_, coordinator_, &v1::Workers::StubInterface::SendLog, request, &reply,
                                      std::chrono::microseconds(kDeadline));
  silent_ = status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
  if (!status.ok() && !NeverTaken(status.error_code())) return false;
  book_.MarkSent(request);
  return true;
}

void LogSender::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    asked_ = waiting_ = false;
    lock.unlock();
    while (SendSome()) continue;
    lock.lock();
    waiting_ = true;
    done_.notify_all();
    wake_.wait_for(lock, silent_ ? kSilence : kPause, [this] { return stopping_ || asked_; });
  }
}

void LogSender::Flush(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  asked_ = true;
  wake_.notify_all();
  done_.wait_for(lock, most, [this] { return waiting_ && !asked_; });
}

}  // namespace filigree::agent
