#include "coordinator/rpc/log_readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "coordinator/rpc/to_wire.h"

namespace filigree::coordinator {

void LogReaders::Add(const Tables& tables, const ReadLogQuery& query, int64_t until_us,
                     std::shared_ptr<LogStream> stream) {
  if (readers_.size() >= limits_.log_readers)
    return stream->End(absl::ResourceExhaustedError(
        fmt::format("{} read logs already, more are not taken; try again later", limits_.log_readers)));
  const JobRow* row = tables.FindJob(query.job);
  if (row == nullptr)
    return stream->End(
        absl::NotFoundError(fmt::format("job {} is not known here; list the jobs for their names", query.job)));
  Reader reader;
  reader.query = query;
  reader.query.follow = query.follow && !Ended(row->state);
  reader.position = store_.Begin(query);
  reader.known = store_.last_arrival();
  reader.until_us = until_us;
  reader.stream = std::move(stream);
  Send(reader);
  readers_.push_back(std::move(reader));
}

// What its queue takes; whether nothing is left to send.
bool LogReaders::Send(Reader& reader) {
  while (reader.stream->waiting() < limits_.log_queue && !reader.stream->ended()) {
    auto message = std::make_shared<v1::ReadLogReply>();
    for (const LogPart& part : store_.Read(reader.query, reader.position, limits_.log_batch_bytes))
      *message->add_parts() = ToWire(part);
    const bool nothing = message->parts_size() == 0;
    if (!reader.caught_up && (nothing || reader.position.after >= reader.known)) {
      reader.caught_up = true;
      message->set_caught_up(true);
    } else if (nothing) {
      return true;
    }
    reader.stream->Push(std::move(message));
    if (reader.caught_up && !reader.query.follow) reader.stream->End(absl::OkStatus());
  }
  return false;
}

void LogReaders::Publish(const SendLogQuery& sent) {
  for (Reader& reader : readers_) {
    const bool of_it = std::any_of(sent.parts.begin(), sent.parts.end(),
                                   [&](const LogPart& part) { return part.job == reader.query.job; });
    if (of_it) Send(reader);
  }
}

void LogReaders::TickReader(const Tables& tables, Reader& reader, int64_t now_us) {
  if (reader.stream->ended()) {
    if (reader.ended_us == 0) reader.ended_us = now_us;
    if (now_us - reader.ended_us < std::chrono::microseconds(limits_.watch_grace).count() || reader.cut_off) return;
    reader.cut_off = true;
    return reader.stream->CutOff();
  }
  if (now_us >= reader.until_us)
    return reader.stream->End(
        absl::DeadlineExceededError("followed for as long as was asked, or for an hour; read again to go on"));
  const JobRow* row = tables.FindJob(reader.query.job);
  if (reader.job_ended_us == 0 && (row == nullptr || Ended(row->state))) reader.job_ended_us = now_us;
  const bool all = Send(reader);
  const int64_t linger_us = std::chrono::microseconds(limits_.log_linger).count();
  if (all && reader.job_ended_us != 0 && now_us - reader.job_ended_us >= linger_us)
    reader.stream->End(absl::OkStatus());
}

void LogReaders::Tick(const Tables& tables, int64_t now_us) {
  for (auto at = readers_.begin(); at != readers_.end();) {
    if (at->stream->over()) {
      at = readers_.erase(at);
      continue;
    }
    TickReader(tables, *at, now_us);
    ++at;
  }
}

void LogReaders::Close(const absl::Status& status) {
  for (const Reader& reader : readers_) reader.stream->End(status);
}

}  // namespace filigree::coordinator
