#include "worker/client/logs.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "worker/client/json.h"
#include "worker/telemetry/display.h"

namespace filigree::client {
namespace {

constexpr size_t kMostLineBytes = 64 << 10;            // then it is told as a line
constexpr std::chrono::seconds kStreamLifetime{3000};  // below the server's hour, so that it is renewed in peace

v1::ReadLogRequest RequestOf(const LogOptions& options, bool again) {
  v1::ReadLogRequest request;
  request.set_job(options.job);
  if (options.rank) request.set_rank(*options.rank);
  if (options.generation) request.set_generation(*options.generation);
  if (!again) request.set_tail_bytes(options.tail_bytes);  // else what is known is passed over by its offset
  request.set_follow(options.follow);
  return request;
}

grpc::Status ReadStream(const Connection& connection, const LogOptions& options, LogLines& lines, bool& heard) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kStreamLifetime);
  const auto stream = connection.stub().ReadLog(&context, RequestOf(options, heard));
  v1::ReadLogReply reply;
  while (stream->Read(&reply)) {
    heard = true;
    lines.Take(reply);
    std::fflush(options.out);
  }
  return stream->Finish();
}

bool GoesOn(const grpc::Status& status, bool follow) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ||
         (follow && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
}

// Digits of the job's highest rank where lines of several may come; else 0.
int DigitsOf(const v1::Job& job, const LogOptions& options) {
  const int64_t ranks = int64_t{std::max(job.spec().data(), job.data())} * std::max(job.spec().tensor(), 1);
  return options.rank || ranks < 2 ? 0 : static_cast<int>(std::to_string(ranks - 1).size());
}

}  // namespace

void LogLines::Take(const v1::ReadLogReply& reply) {
  for (const v1::LogPart& part : reply.parts()) TakePart(part);
  if (!reply.caught_up() || caught_up_) return;
  if (options_.follow) TellTail();
}

void LogLines::TakePart(const v1::LogPart& part) {
  const Key key(part.generation(), part.rank());
  Log& log = logs_[key];
  // The beginning of a log is missing only where all of it was wanted.
  const bool all = options_.tail_bytes == 0 && !options_.tail_lines;
  const int64_t next = log.next.value_or(all ? 0 : part.offset());
  const auto size = static_cast<int64_t>(part.text().size());
  if (part.offset() + size <= next) return;
  if (part.offset() > next) {
    if (!log.line.empty()) Line(key, std::exchange(log.line, ""));
    Missing(key, part.offset() - next);
  }
  log.next = part.offset() + size;
  TakeText(key, log, part.text().substr(static_cast<size_t>(std::max<int64_t>(next - part.offset(), 0))));
}

void LogLines::TakeText(const Key& key, Log& log, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const size_t size = std::min(end, text.size()) - at;
    log.line.append(text, at, size);
    if (end != std::string::npos || log.line.size() >= kMostLineBytes) Line(key, std::exchange(log.line, ""));
    at += size + (end != std::string::npos ? 1 : 0);
  }
}

void LogLines::End() {
  for (auto& [key, log] : logs_)
    if (!log.line.empty()) Line(key, std::exchange(log.line, ""));
  if (!caught_up_) TellTail();
}

void LogLines::Line(const Key& key, std::string text) {
  if (!text.empty() && text.back() == '\r') text.pop_back();
  if (caught_up_ || !options_.tail_lines) return Tell(key, text);
  tail_.emplace_back(key, std::move(text));
  if (static_cast<int64_t>(tail_.size()) > *options_.tail_lines) tail_.pop_front();
}

void LogLines::TellTail() {
  caught_up_ = true;
  for (const auto& [key, text] : std::exchange(tail_, {})) Tell(key, text);
}

void LogLines::Missing(const Key& key, int64_t bytes) {
  if (!options_.json) return Line(key, fmt::format("[{} bytes are not kept]", bytes));
  if (!caught_up_ && options_.tail_lines) return;
  Write(LineOf({{"generation", key.first}, {"rank", key.second}, {"missing", bytes}}) + "\n");
}

void LogLines::Tell(const Key& key, const std::string& text) {
  ++told_;
  const auto& [generation, rank] = key;
  if (options_.json) return Write(LineOf({{"generation", generation}, {"rank", rank}, {"text", text}}) + "\n");
  if (generation_ != 0 && generation_ != generation) Write(fmt::format("--- generation {}\n", generation));
  generation_ = generation;
  const std::string whose = digits_ > 0 ? fmt::format("rank {:>{}} | ", rank, digits_) : "";
  Write(whose + telemetry::Printable(text) + "\n");
}

void LogLines::Write(const std::string& text) { std::fwrite(text.data(), 1, text.size(), options_.out); }

absl::StatusOr<int64_t> ReadLogs(const Connection& connection, const LogOptions& options) {
  v1::GetRequest get;
  get.set_job(options.job);
  const auto job = connection.Call(&v1::Coordinator::Stub::Get, get);
  if (!job.ok()) return job.status();
  LogLines lines(options, DigitsOf(*job, options));
  auto last_heard = std::chrono::steady_clock::now();
  bool ever = false;
  for (;;) {
    bool heard = ever;
    const auto began = std::chrono::steady_clock::now();
    const grpc::Status status = ReadStream(connection, options, lines, heard);
    std::fflush(options.out);
    const auto now = std::chrono::steady_clock::now();
    if (heard && !ever) last_heard = now;
    ever = heard;
    if (now - began > std::chrono::seconds(1)) last_heard = now;  // somebody was there
    const auto patience = ever && options.follow ? options.patience : connection.patience();
    if (!status.ok() && GoesOn(status, options.follow) && now - last_heard <= patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(250));
      continue;
    }
    lines.End();
    std::fflush(options.out);
    if (!status.ok()) return connection.Explained(status);
    return lines.told();
  }
}

}  // namespace filigree::client
