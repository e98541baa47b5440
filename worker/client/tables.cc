#include "worker/client/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "worker/client/lines.h"
#include "worker/client/names.h"
#include "worker/telemetry/display.h"

namespace filigree::client {
namespace {

using Row = std::vector<std::string>;

constexpr int kMostRanks = 64;  // in the details; the rest is counted

std::string TableOf(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) line += fmt::format("{:<{}}  ", row[c], widths[c]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string Ago(int64_t wall_us, double now) {
  if (wall_us <= 0) return "-";
  return telemetry::DurationText(std::max(now - static_cast<double>(wall_us) / 1e6, 0.0));
}

// How long it has taken: until its end, or until now.
std::string Taken(const v1::Job& job, double now) {
  if (job.started_us() <= 0) return "-";
  return Ago(job.started_us(), job.ended_us() > 0 ? static_cast<double>(job.ended_us()) / 1e6 : now);
}

std::string Grid(const v1::Job& job) {
  const int32_t tensor = std::max(job.spec().tensor(), 1);
  if (job.generation() > 0 && job.data() < job.spec().data())
    return fmt::format("{}x{} of {}x{}", job.data(), tensor, job.spec().data(), tensor);
  return fmt::format("{}x{}", job.spec().data(), tensor);
}

std::string StepMs(const v1::Progress& progress) {
  return progress.step_seconds() > 0 ? fmt::format("{:.1f}", progress.step_seconds() * 1e3) : "-";
}

int64_t StepOf(const v1::Job& job) {
  return std::max(job.has_progress() ? job.progress().step() : 0, job.has_last_commit() ? job.last_commit().step() : 0);
}

std::string PhaseTable(const v1::PhaseSeconds& phases) {
  const std::pair<const char*, double> all[] = {{"data", phases.data()},         {"forward", phases.forward()},
                                                {"backward", phases.backward()}, {"compress", phases.compress()},
                                                {"exchange", phases.exchange()}, {"optimizer", phases.optimizer()},
                                                {"topk", phases.topk()},         {"checkpoint", phases.checkpoint()}};
  double sum = 0;
  for (const auto& [name, seconds] : all) sum += seconds;
  if (!(sum > 0)) return "";
  std::vector<Row> rows = {{"phase", "ms a step", "share"}};
  for (const auto& [name, seconds] : all)
    rows.push_back({name, fmt::format("{:.2f}", seconds * 1e3), fmt::format("{:.1f}%", 100 * seconds / sum)});
  return fmt::format("\n{}", TableOf(rows));
}

// Of a job that is over, what its ranks were doing is not kept.
bool Over(const v1::Job& job) {
  return job.state() == v1::JOB_STATE_DONE || job.state() == v1::JOB_STATE_FAILED ||
         job.state() == v1::JOB_STATE_CANCELLED;
}

std::string RankTable(const v1::Job& job) {
  if (job.ranks_size() == 0) return "";
  std::vector<Row> rows = {{"rank", "worker", "state", "step", "note"}};
  for (const v1::RankView& rank : job.ranks()) {
    if (rows.size() > kMostRanks) break;
    const bool unheard = rank.state() == v1::RANK_STATE_UNSPECIFIED;
    rows.push_back({std::to_string(rank.rank()), telemetry::Printable(rank.worker()),
                    unheard ? (Over(job) ? "over" : "not heard of") : NameOf(rank.state()),
                    unheard && Over(job) ? "" : std::to_string(rank.step()),
                    rank.straggler() ? "slow" : telemetry::Printable(rank.reason())});
  }
  std::string text = fmt::format("\n{}", TableOf(rows));
  if (job.ranks_size() > kMostRanks) text += fmt::format("and {} more\n", job.ranks_size() - kMostRanks);
  return text;
}

}  // namespace

std::string JobTable(const std::vector<v1::Job>& jobs, double now) {
  std::vector<Row> rows = {{"job", "state", "ranks", "generation", "step", "ms/step", "restarts", "taken", "reason"}};
  for (const v1::Job& job : jobs)
    rows.push_back({telemetry::Printable(job.id()), NameOf(job.state()), Grid(job), std::to_string(job.generation()),
                    std::to_string(StepOf(job)), StepMs(job.progress()), std::to_string(job.restarts()),
                    Taken(job, now), telemetry::Printable(job.reason())});
  return TableOf(rows);
}

std::string WorkerTable(const std::vector<v1::Worker>& workers) {
  std::vector<Row> rows = {{"worker", "host", "slots", "used", "state", "incarnation"}};
  for (const v1::Worker& worker : workers)
    rows.push_back(
        {telemetry::Printable(worker.name()), telemetry::Printable(worker.host()), std::to_string(worker.slots()),
         std::to_string(worker.used()),
         worker.draining() && worker.presence() == v1::PRESENCE_LIVE ? "draining" : NameOf(worker.presence()),
         std::to_string(worker.incarnation())});
  return TableOf(rows);
}

std::string JobDetails(const v1::Job& job, double now) {
  std::string text = fmt::format("{}  {}: {}\n", telemetry::Printable(job.id()), NameOf(job.state()),
                                 telemetry::Printable(job.reason()));
  text += fmt::format("submitted {} ago, taken {}, ranks {}, generation {}, restarts {}\n",
                      Ago(job.submitted_us(), now), Taken(job, now), Grid(job), job.generation(), job.restarts());
  if (job.has_last_commit())
    text += fmt::format("last checkpoint: step {}, generation {}, manifest {}\n", job.last_commit().step(),
                        job.last_commit().generation(), telemetry::Printable(job.last_commit().digest()));
  if (job.has_progress()) {
    text += ProgressLine(job.progress(), TargetSteps(job.spec()), now) + "\n";
    for (const v1::SlowRank& slow : job.progress().slow()) text += SlowLine(slow) + "\n";
    text += PhaseTable(job.progress().phases());
  }
  return text + RankTable(job);
}

}  // namespace filigree::client
