#include "coordinator/console/answers.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "coordinator/rpc/views.h"

namespace filigree::coordinator {
namespace {

constexpr int32_t kMostJobs = 200, kMostWorkers = 500;
constexpr size_t kMostRanks = 512, kMostMatrices = 512, kMostEvents = 200, kMostReasonBytes = 1000;

// Six digits are more than a curve shows.
Json Number(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == 0) return 0;
  const double scale = std::pow(10, 5 - std::floor(std::log10(std::abs(value))));
  return std::isfinite(scale) && scale > 0 ? Json(std::round(value * scale) / scale) : Json(value);
}

// Of one phase; null until steps have been timed.
Json PhaseJson(const Sample& sample, int phase) {
  return std::isfinite(sample.step_seconds) ? Number(sample.phases[static_cast<size_t>(phase)]) : Json(nullptr);
}

// What a list and a job alone have in common. Figures of a job whose ranks are gone are the last that were seen.
Json HeadJson(const v1::Job& job, const JobRow& row, const std::optional<Sample>& last) {
  Json json = {{"id", row.id},
               {"state", Name(row.state)},
               {"ended", Ended(row.state)},
               {"reason", row.reason.substr(0, kMostReasonBytes)},
               {"generation", row.generation},
               {"data", row.data},
               {"wanted_data", row.spec->data},
               {"tensor", row.spec->tensor},
               {"priority", row.spec->priority},
               {"restarts", row.restarts},
               {"ranks_running", job.progress().ranks_running()},
               {"ranks_total", row.ranks.size()},
               {"submitted_us", row.submitted_us},
               {"started_us", row.started_us},
               {"ended_us", row.ended_us},
               {"last_heard_ms", job.progress().last_heard_ms()},
               {"slow", job.progress().slow_size()}};
  json["last_commit"] = job.has_last_commit() ? Json(job.last_commit().step()) : Json(nullptr);
  if (!last) return json;
  json["step"] = row.state == JobState::kDone ? std::max(last->step, last->target_steps) : last->step;
  json["target_steps"] = last->target_steps;
  json["train_loss"] = Number(last->train_loss);
  json["val_loss"] = Number(last->val_loss);
  json["density"] = Number(last->density);
  json["churn"] = Number(last->churn);
  json["learning_rate"] = Number(last->learning_rate);
  json["step_seconds"] = Number(last->step_seconds);
  json["sent_bytes"] = Number(last->sent_bytes);
  json["dense_equivalent_bytes"] = Number(last->dense_equivalent_bytes);
  json["tokens"] = Number(last->tokens);
  for (int p = 0; p < kPhases; ++p) json["phases"][Name(static_cast<Phase>(p))] = PhaseJson(*last, p);
  return json;
}

std::optional<Sample> LastSample(const Core& core, Now now, const History& history, const JobRow& row) {
  return row.held ? SampleOf(core, row, now) : history.LastOf(row.id);
}

const char* PresenceName(const WorkerRow& row) {
  if (row.presence == Presence::kLive) return row.draining ? "draining" : "live";
  return row.presence == Presence::kLost ? "lost" : "left";
}

Json WorkerJson(const v1::Worker& worker, const WorkerRow& row) {
  return {{"name", row.name},
          {"host", row.host},
          {"slots", row.slots},
          {"used", worker.used()},
          {"presence", PresenceName(row)},
          {"live", row.presence == Presence::kLive}};
}

// Ranks that somebody should look at come first.
Json RanksJson(const v1::Job& job, bool ended) {
  std::vector<const v1::RankView*> ranks;
  ranks.reserve(static_cast<size_t>(job.ranks_size()));
  for (const v1::RankView& rank : job.ranks()) ranks.push_back(&rank);
  const auto calm = [](const v1::RankView* rank) {
    return !rank->straggler() && rank->state() != v1::RANK_STATE_FAILED;
  };
  std::stable_sort(ranks.begin(), ranks.end(),
                   [&](const v1::RankView* a, const v1::RankView* b) { return calm(a) < calm(b); });
  if (ranks.size() > kMostRanks) ranks.resize(kMostRanks);
  Json json = Json::array();
  for (const v1::RankView* rank : ranks) {
    const bool heard = rank->state() != v1::RANK_STATE_UNSPECIFIED;
    json.push_back({{"rank", rank->rank()},
                    {"worker", rank->worker()},
                    {"state", heard   ? Name(static_cast<RankState>(rank->state() - 1))
                              : ended ? "gone"
                                      : "silent"},
                    {"step", rank->step()},
                    {"slow", rank->straggler()},
                    {"reason", rank->reason()}});
  }
  return json;
}

Json SlowJson(const v1::Progress& progress) {
  Json json = Json::array();
  for (const v1::SlowRank& slow : progress.slow())
    json.push_back({{"rank", slow.rank()},
                    {"worker", slow.worker()},
                    {"ratio", Number(slow.ratio())},
                    {"phase", Name(static_cast<Phase>(slow.phase() - 1))},
                    {"seconds", Number(slow.seconds())},
                    {"median_seconds", Number(slow.median_seconds())}});
  return json;
}

Json MatricesJson(const Core& core, const JobRow& row) {
  Json json = Json::array();
  const JobMemory* memory = GenerationMemory(core, row);
  if (memory == nullptr || memory->ranks.empty()) return json;
  const RunFigures* figures = memory->ranks.front().figures();
  if (figures == nullptr) return json;
  for (const MatrixFigures& matrix : figures->matrices) {
    if (json.size() == kMostMatrices) break;
    json.push_back({{"layer", matrix.layer},
                    {"matrix", matrix.matrix},
                    {"density", Number(matrix.density)},
                    {"threshold", Number(matrix.threshold)},
                    {"churn", Number(matrix.churn.value_or(kUnknown))}});
  }
  return json;
}

}  // namespace

Json StateJson(const Core& core, Now now, const History& history, bool ended) {
  const v1::ListReply jobs = ListJobs(core, {ended, 0, kMostJobs}, now.monotonic_us);
  const v1::ListWorkersReply workers = ListWorkers(core, {true, "", kMostWorkers});
  Json json = {{"epoch", core.tables().epoch()}, {"now_us", now.wall_us},    {"jobs", Json::array()},
               {"more_jobs", jobs.more()},       {"workers", Json::array()}, {"more_workers", workers.more()}};
  for (const v1::Job& job : jobs.jobs()) {
    const JobRow& row = *core.tables().FindJob(job.id());
    json["jobs"].push_back(HeadJson(job, row, LastSample(core, now, history, row)));
  }
  for (const v1::Worker& worker : workers.workers())
    json["workers"].push_back(WorkerJson(worker, *core.tables().FindWorker(worker.name())));
  return json;
}

absl::StatusOr<Json> JobJson(const Core& core, Now now, const History& history, const std::string& job) {
  const JobRow* row = core.tables().FindJob(job);
  if (row == nullptr) return absl::NotFoundError("no such job");
  const v1::Job view = ViewOfJob(core, *row, now.monotonic_us);
  Json json = HeadJson(view, *row, LastSample(core, now, history, *row));
  json["ranks"] = RanksJson(view, Ended(row->state));
  json["slow_ranks"] = SlowJson(view.progress());
  json["matrices"] = MatricesJson(core, *row);
  return json;
}

Json SeriesJson(const History& history, const std::string& job) {
  const std::vector<Sample> samples = history.SamplesOf(job);
  Json json = {{"job", job}, {"phase_names", Json::array()}, {"phases", Json::array()}};
  for (const char* column : {"wall_us", "generation", "step", "train_loss", "val_loss", "density", "churn",
                             "step_seconds", "sent_bytes", "dense_equivalent_bytes"})
    json[column] = Json::array();
  for (int p = 0; p < kPhases; ++p) {
    json["phase_names"].push_back(Name(static_cast<Phase>(p)));
    json["phases"].push_back(Json::array());
  }
  for (const Sample& sample : samples) {
    json["wall_us"].push_back(sample.wall_us);
    json["generation"].push_back(sample.generation);
    json["step"].push_back(sample.step);
    json["train_loss"].push_back(Number(sample.train_loss));
    json["val_loss"].push_back(Number(sample.val_loss));
    json["density"].push_back(Number(sample.density));
    json["churn"].push_back(Number(sample.churn));
    json["step_seconds"].push_back(Number(sample.step_seconds));
    json["sent_bytes"].push_back(Number(sample.sent_bytes));
    json["dense_equivalent_bytes"].push_back(Number(sample.dense_equivalent_bytes));
    for (int p = 0; p < kPhases; ++p) json["phases"][p].push_back(PhaseJson(sample, p));
  }
  return json;
}

Json EventsJson(const History& history, int64_t after) {
  Json json = Json::array();
  for (const auto& [number, event] : history.EventsAfter(after, kMostEvents)) {
    Json one = {{"number", number},   {"kind", Name(event.kind)}, {"wall_us", event.wall_us},
                {"job", event.job},   {"worker", event.worker},   {"generation", event.generation},
                {"step", event.step}, {"text", event.text}};
    one["rank"] = event.rank >= 0 ? Json(event.rank) : Json(nullptr);
    if (event.kind == EventKind::kJobMoved) one["to"] = Name(event.to);
    json.push_back(std::move(one));
  }
  return json;
}

std::string TextOf(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace filigree::coordinator
