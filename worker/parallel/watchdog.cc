#include "worker/parallel/watchdog.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace filigree::parallel {

absl::StatusOr<std::unique_ptr<Watchdog>> Watchdog::Start(World& world, Options options) {
  std::unique_ptr<comm::Communicator> group;
  if (world.size() > 1) {
    absl::StatusOr<std::unique_ptr<comm::Communicator>> split = world.AnotherGroup();
    if (!split.ok()) return split.status();
    group = *std::move(split);
    group->SetDeadline(std::chrono::milliseconds(static_cast<int64_t>(1e3 * options.stuck_after)));
    world.BeWatched();
  }
  return std::unique_ptr<Watchdog>(new Watchdog(world, std::move(options), std::move(group)));
}

Watchdog::Watchdog(World& world, Options options, std::unique_ptr<comm::Communicator> group)
    : world_(world), options_(std::move(options)), group_(std::move(group)) {
  if (group_ != nullptr) thread_ = std::thread([this] { Watch(); });
}

Watchdog::~Watchdog() {
  leaving_ = true;
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Watch() {
  group_->Name("the watchdog's reports");
  const int size = group_->size();
  std::vector<Report> reports(size);
  const std::vector<int64_t> counts(size, sizeof(Report));
  while (true) {
    const Report own = OwnReport();
    const std::span<const char> mine(reinterpret_cast<const char*>(&own), sizeof(Report));
    const std::span<char> all(reinterpret_cast<char*>(reports.data()), size * sizeof(Report));
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = group_->AllGather(comm::ArrayOf(mine), counts, comm::ArrayOf(all));
    if (!status.ok()) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      // Longer than the others wait for an answer: it was this process that did not run, and they say so.
      const bool stood_still = took.count() > 2 * options_.stuck_after;
      return options_.on_failure(std::string(status.message()),
                                 stood_still ? (group_->rank() + 1) % group_->size() : kUnknownSpeaker);
    }
    if (const std::string stuck = StuckRanks(reports); !stuck.empty()) return Fail(reports, stuck);
    if (AllLeave(reports)) return;
    const bool hurry = own.leaving != 0;  // the others should not wait for the end of a pause
    std::this_thread::sleep_for(std::chrono::duration<double>(hurry ? 0.01 : options_.interval));
  }
}

Watchdog::Report Watchdog::OwnReport() const {
  Progress& progress = world_.progress();
  progress.Look();
  Report report{};
  report.step = progress.step();
  report.idle_seconds = progress.seconds_since_last();
  const double median = progress.median_step_seconds();
  const bool in_step = progress.in_step() && median > 0;  // the first step may compile, page in, or be the slowest
  report.limit_seconds =
      in_step ? std::max(options_.stuck_after, 3 * median) : std::max(options_.stuck_after, kOutsideOfSteps);
  report.waiting = progress.waiting() ? 1 : 0;
  report.leaving = leaving_ ? 1 : 0;
  std::strncpy(report.phase, progress.phase(), sizeof(report.phase) - 1);
  return report;
}

void Watchdog::Fail(const std::vector<Report>& reports, const std::string& report) const {
  const auto stuck = [](const Report& of) { return of.leaving != 0 || (Stuck(of) && of.waiting == 0); };
  const auto speaker = std::find_if_not(reports.begin(), reports.end(), stuck);
  const int rank = speaker == reports.end() ? 0 : static_cast<int>(speaker - reports.begin());
  (stuck(reports[group_->rank()]) && options_.on_stuck ? options_.on_stuck : options_.on_failure)(report, rank);
}

bool Watchdog::Stuck(const Report& report) { return report.leaving == 0 && report.idle_seconds > report.limit_seconds; }

// Ranks that wait are kept by others: whoever does not wait and does not move is the cause. Where all wait, their calls
// do not belong together; where all wait but some that have ended, it is for those.
std::string Watchdog::StuckRanks(const std::vector<Report>& reports) const {
  std::vector<std::string> stuck, waiting, ended;
  for (int r = 0; r < group_->size(); ++r) {
    const Report& report = reports[r];
    if (report.leaving != 0) ended.push_back(fmt::format("rank {} on {}", r, group_->host(r)));
    if (!Stuck(report)) continue;
    (report.waiting != 0 ? waiting : stuck)
        .push_back(fmt::format("rank {} on {} made no progress for {:.1f} s in {} of step {}", r, group_->host(r),
                               report.idle_seconds,
                               std::string(report.phase, strnlen(report.phase, sizeof(report.phase))), report.step));
  }
  if (!stuck.empty()) return fmt::format("{}", fmt::join(stuck, "; "));
  if (waiting.empty() || waiting.size() + ended.size() < reports.size()) return {};
  if (ended.empty()) return fmt::format("all ranks wait for each other: {}", fmt::join(waiting, "; "));
  return fmt::format("{} ended while others wait for it: {}", fmt::join(ended, " and "), fmt::join(waiting, "; "));
}

bool Watchdog::AllLeave(const std::vector<Report>& reports) const {
  return std::all_of(reports.begin(), reports.end(), [](const Report& report) { return report.leaving != 0; });
}

bool AwaitUnlessStuck(const std::atomic<bool>& over, Progress& progress, double patience) {
  const auto begin = std::chrono::steady_clock::now();
  while (!over) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    progress.Look();
    // How long nothing happened before the abort is another's doing.
    const std::chrono::duration<double> since = std::chrono::steady_clock::now() - begin;
    if (std::min(since.count(), progress.seconds_since_last()) > patience) return false;
  }
  return true;
}

}  // namespace filigree::parallel
