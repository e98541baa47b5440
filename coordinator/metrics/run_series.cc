#include "coordinator/metrics/run_series.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "coordinator/core/stragglers.h"
#include "coordinator/metrics/families.h"

namespace filigree::coordinator {
namespace {

constexpr std::array<const char*, 3> kPresences = {"live", "lost", "left"};  // by Presence

// The series of one job.
class RunSeries {
 public:
  RunSeries(const Core& core, const JobRow& row, http::MetricsPage& page)
      : core_(core), row_(row), memory_(MemoryOf(core, row)), page_(page) {}

  void Add() {
    const bool known = memory_ != nullptr && !memory_->ranks.empty();
    const RunFigures* figures = known ? memory_->ranks.front().figures() : nullptr;
    AddRow(figures == nullptr ? "" : figures->config_sha256);
    if (known) AddProgress();
    if (figures == nullptr) return;
    AddFigures(*figures);
    AddMatrices(*figures);
  }

 private:
  // What the tables and the counts of masks say, whatever ranks have told.
  void AddRow(const std::string& config_sha256) {
    Put(kRunInfo, 1,
        {{"run_name", row_.spec->name},
         {"config_sha256", config_sha256},
         {"dp", std::to_string(row_.data)},
         {"tp", std::to_string(row_.spec->tensor)}});
    std::set<std::string> names;
    for (const RankPlace& place : row_.ranks) names.insert(place.worker);
    std::array<int, kPresences.size()> counts = {};
    for (const std::string& name : names) ++counts[static_cast<size_t>(core_.tables().FindWorker(name)->presence)];
    for (size_t i = 0; i < counts.size(); ++i) Put(kWorkers, counts[i], {{"state", kPresences[i]}});
    Put(kRestarts, row_.restarts, {{"reason", "fault"}});
    const auto masks = core_.memory().masks.find(row_.id);
    const Memory::MaskCounts counted = masks == core_.memory().masks.end() ? Memory::MaskCounts() : masks->second;
    Put(kMaskSync, static_cast<double>(counted.agreed));
    Put(kMaskMismatch, static_cast<double>(counted.differed));
    const CommitRow* commit = core_.tables().LastCommit(row_.id);
    Put(kLastCheckpoint, commit == nullptr ? 0 : static_cast<double>(commit->wall_us) / 1e6);
  }

  void AddProgress() {
    Put(kStep, static_cast<double>(LeastStep()));
    for (const Straggler& slow : FindStragglers(memory_->ranks, memory_->stragglers, core_.options()))
      Put(kStraggler, slow.ratio, {{"rank", std::to_string(slow.rank)}, {"phase", Name(slow.phase)}});
  }

  int64_t LeastStep() const {
    int64_t least = memory_->ranks.front().last().step;
    for (const RankTelemetry& rank : memory_->ranks) least = std::min(least, rank.last().step);
    return least;
  }

  void AddFigures(const RunFigures& figures) {
    Put(kTargetSteps, static_cast<double>(figures.target_steps));
    PutKnown(kLearningRate, figures.learning_rate);
    PutKnown(kGradientNorm, figures.gradient_norm);
    PutKnown(kTrainLoss, figures.train_loss);
    PutKnown(kValLoss, figures.val_loss);
    PutKnown(kDensity, figures.density);
    Put(kTargetDensity, figures.target_density);
    Put(kTokens, static_cast<double>(figures.tokens));
    Put(kSkippedSteps, static_cast<double>(figures.skipped_steps), {{"reason", "not_finite"}});
    Put(kCheckpointFailures, static_cast<double>(figures.checkpoint_failures));
  }

  // A rank may tell of one matrix twice; Prometheus refuses pages with a series twice.
  void AddMatrices(const RunFigures& figures) {
    struct Kind {
      double threshold = 0, churn = 0;
      int matrices = 0, churned = 0;
    };
    std::map<std::pair<int32_t, std::string>, double> densities;
    std::map<std::string, Kind> kinds;
    for (const MatrixFigures& matrix : figures.matrices) {
      densities[{std::max(matrix.layer, -1), matrix.matrix}] = matrix.density;
      Kind& kind = kinds[matrix.matrix];
      kind.threshold = kind.matrices++ == 0 ? matrix.threshold : std::min(kind.threshold, matrix.threshold);
      if (!matrix.churn) continue;
      kind.churn += *matrix.churn;
      ++kind.churned;
    }
    for (const auto& [place, density] : densities)
      Put(kLayerDensity, density,
          {{"layer", place.first < 0 ? "" : std::to_string(place.first)}, {"matrix", place.second}});
    for (const auto& [name, kind] : kinds) {
      Put(kMaskThreshold, kind.threshold, {{"matrix", name}});
      if (kind.churned > 0) Put(kMaskChurn, kind.churn / kind.churned, {{"matrix", name}});
    }
  }

  void Put(const FamilyInfo& family, double value, http::Labels more = {}) {
    more.insert(more.begin(), {"run_id", row_.id});
    page_.Add(family, std::move(more), value);
  }
  void PutKnown(const FamilyInfo& family, const std::optional<double>& value) {
    if (value) Put(family, *value);
  }

  const Core& core_;
  const JobRow& row_;
  const JobMemory* const memory_;
  http::MetricsPage& page_;
};

// Ends that are still news. Of 1,000 jobs at most: jobs may be kept by the million, and the core waits meanwhile.
void AddEnds(const Core& core, int64_t now_us, http::MetricsPage& page) {
  constexpr int64_t kNewsUs = int64_t{3600} * 1'000'000;
  constexpr int kMost = 1000;
  const auto& ended = core.tables().ended_jobs();
  int looked_at = 0;
  for (auto at = ended.rbegin(); at != ended.rend() && looked_at < kMost; ++at, ++looked_at) {
    const JobRow& row = *core.tables().FindJob(at->second);
    if (now_us - row.ended_us > kNewsUs) continue;
    page.Add(kJobEnd, {{"run_id", row.id}, {"run_name", row.spec->name}, {"state", Name(row.state)}},
             static_cast<double>(row.ended_us) / 1e6);
  }
}

}  // namespace

void AddSeries(const Core& core, Now now, http::MetricsPage& page) {
  std::array<int, kPresences.size()> counts = {};
  for (const auto& [name, row] : core.tables().workers()) ++counts[static_cast<size_t>(row.presence)];
  for (size_t i = 0; i < counts.size(); ++i) page.Add(kWorkers, {{"state", kPresences[i]}}, counts[i]);
  for (const std::string& id : core.tables().open_jobs()) RunSeries(core, *core.tables().FindJob(id), page).Add();
  AddEnds(core, now.wall_us, page);
}

const JobMemory* MemoryOf(const Core& core, const JobRow& row) {
  const auto found = core.memory().jobs.find(row.id);
  if (found == core.memory().jobs.end() || found->second.generation != row.generation) return nullptr;
  return found->second.ranks.size() == row.ranks.size() ? &found->second : nullptr;
}

}  // namespace filigree::coordinator
