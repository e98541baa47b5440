#include "coordinator/rpc/desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace filigree::coordinator {

Desk::Desk(const Options& options, Tables tables, Keep keep, Hooks hooks, const Limits& limits)
    : core_(options, std::move(tables), Time()),
      keep_(std::move(keep)),
      hooks_(std::move(hooks)),
      keys_(limits),
      watchers_(limits),
      logs_(limits),
      log_readers_(limits, logs_) {}

Now Desk::Time() {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  return {duration_cast<microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(),
          duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch()).count()};
}

absl::Status Desk::KeepRows(const Outcome& outcome) {
  if (outcome.rows.empty()) return absl::OkStatus();
  const absl::Status kept = keep_(outcome.rows);
  if (kept.ok() != keeps_) {
    keeps_ = kept.ok();
    if (hooks_.on_kept) hooks_.on_kept(kept);
  }
  if (kept.ok()) return kept;
  return absl::UnavailableError(fmt::format(
      "the coordinator cannot write its journal, so nothing was done; try again: {}", std::string(kept.message())));
}

void Desk::TellReleased(const Outcome& outcome) {
  if (!hooks_.on_released) return;
  for (const JobRow& row : outcome.rows.jobs) {
    const JobRow* stands = core_.tables().FindJob(row.id);
    if (stands != nullptr && stands->held && !row.held) hooks_.on_released(core_, *stands, outcome.now);
  }
}

void Desk::Tell(const Outcome& outcome, const std::string& speaker) {
  keys_.Follow(outcome.rows);
  logs_.Follow(outcome.rows);
  for (const WorkerRow& row : outcome.rows.workers)
    if (row.presence != Presence::kLive) news_.Forget(row.name);
  std::vector<std::string> nudged = outcome.nudged;
  nudged.erase(std::remove(nudged.begin(), nudged.end(), speaker), nudged.end());
  news_.Nudge(nudged);
  watchers_.Publish(outcome.events);
  if (!hooks_.on_event) return;
  for (const Event& event : outcome.events) hooks_.on_event(event);
}

void Desk::Tick() {
  const Now now = Time();
  // What could not be kept is decided again at the next tick.
  Settle(core_.Tick(now)).status().IgnoreError();
  keys_.Expire(now.monotonic_us);
  news_.Expire(now.monotonic_us);
  watchers_.Tick(core_, now.monotonic_us);
  log_readers_.Tick(core_.tables(), now.monotonic_us);
}

void Desk::Close(const absl::Status& status) {
  keys_.Close(status);
  news_.Close();
  watchers_.Close(status);
  log_readers_.Close(status);
}

}  // namespace filigree::coordinator
