#include "coordinator/rpc/watchers.h"

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <utility>

#include "coordinator/rpc/to_wire.h"
#include "coordinator/rpc/views.h"

namespace filigree::coordinator {

void Watchers::Add(const Core& core, const WatchQuery& query, int64_t now_us, int64_t until_us,
                   std::shared_ptr<WatchStream> stream) {
  if (watchers_.size() >= limits_.watchers)
    return stream->End(absl::ResourceExhaustedError(
        fmt::format("{} watch already, more are not taken; try again later", limits_.watchers)));
  const JobRow* row = query.job.empty() ? nullptr : core.tables().FindJob(query.job);
  if (row == nullptr && !query.job.empty())
    return stream->End(
        absl::NotFoundError(fmt::format("job {} is not known here; list the jobs for their names", query.job)));
  if (row != nullptr) {
    auto first = std::make_shared<v1::WatchReply>();
    *first->mutable_job() = ViewOfJob(core, *row, now_us);
    stream->Push(std::move(first));
    if (Ended(row->state)) stream->End(absl::OkStatus());
  }
  watchers_.push_back({query, until_us, now_us + query.progress_us, 0, false, std::move(stream)});
}

void Watchers::Publish(const std::vector<Event>& events) {
  if (watchers_.empty()) return;
  for (const Event& event : events) {
    auto message = std::make_shared<v1::WatchReply>();
    *message->mutable_event() = ToWire(event);
    const WatchStream::Message shared = std::move(message);
    for (const Watcher& watcher : watchers_) {
      if (!watcher.query.job.empty() && watcher.query.job != event.job) continue;
      if (!watcher.stream->Push(shared)) ++dropped_;
      const bool last = event.kind == EventKind::kJobMoved && Ended(event.to);
      if (last && !watcher.query.job.empty()) watcher.stream->End(absl::OkStatus());
    }
  }
}

void Watchers::TellProgress(const Core& core, Watcher& watcher, int64_t now_us, Messages& messages) {
  const std::string& job = watcher.query.job;
  if (job.empty() || now_us < watcher.next_progress_us) return;
  watcher.next_progress_us = now_us + watcher.query.progress_us;
  const JobRow* row = core.tables().FindJob(job);
  if (row == nullptr || !row->held) return;
  WatchStream::Message& message = messages[job];
  if (message == nullptr) {
    auto made = std::make_shared<v1::WatchReply>();
    *made->mutable_progress() = ViewOfProgress(core, *row, now_us);
    message = std::move(made);
  }
  if (!watcher.stream->Push(message)) ++dropped_;
}

void Watchers::Tick(const Core& core, int64_t now_us) {
  const int64_t grace_us = std::chrono::microseconds(limits_.watch_grace).count();
  Messages messages;
  for (auto at = watchers_.begin(); at != watchers_.end();) {
    Watcher& watcher = *at;
    if (watcher.stream->over()) {
      at = watchers_.erase(at);
      continue;
    }
    ++at;
    if (watcher.stream->ended()) {
      if (watcher.ended_us == 0) watcher.ended_us = now_us;
      if (now_us - watcher.ended_us < grace_us || watcher.cut_off) continue;
      watcher.cut_off = true;
      watcher.stream->CutOff();
    } else if (now_us >= watcher.until_us) {
      watcher.stream->End(
          absl::DeadlineExceededError("watched for as long as was asked, or for an hour; watch again to go on"));
    } else {
      TellProgress(core, watcher, now_us, messages);
    }
  }
}

void Watchers::Close(const absl::Status& status) {
  for (const Watcher& watcher : watchers_) watcher.stream->End(status);
}

}  // namespace filigree::coordinator
