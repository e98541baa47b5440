#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/parity/bf16_bound.h"
#include "tests/parity/rounding.h"
#include "tests/parity/run_case.h"
#include "tests/parity/tensor_comparer.h"
#include "tests/parity/ties.h"
#include "worker/config/settings.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::parity {
namespace {

constexpr double kScheduleBound = 1e-12, kLossBound = 1e-6, kGradRmsBound = 2e-4;
constexpr size_t kMostRuns = 8;  // of a case that misses, with ties taken the other way

config::Settings SettingsOf(const GoldenCase& golden, config::Regime regime, int shards) {
  const TrainingPlan& plan = *golden.training;
  config::Settings settings;
  settings.run.steps = plan.steps;
  settings.sparsity.regime = regime;
  settings.sparsity.candidates = 1 << 16;  // everything, at any density
  settings.sparsity.dense_phase = false;
  settings.sparsity.density = plan.weight_density();
  settings.sparsity.embedding_density = plan.embedding_density();
  settings.sparsity.density_start = 1;
  settings.sparsity.embedding_density_start = 1;
  settings.sparsity.anneal_start = plan.start;
  settings.sparsity.anneal_end = plan.stop;
  settings.sparsity.anneal_shape = config::AnnealShape::kLinear;
  settings.sparsity.min_alive = plan.min_alive;
  settings.sparsity.biases = config::Biases::kDense;
  settings.optim.lr = plan.lr;
  settings.optim.warmup = plan.warmup;
  settings.optim.beta1 = 0.9;
  settings.optim.beta2 = 0.95;
  settings.optim.eps = plan.eps;
  settings.optim.weight_decay = plan.weight_decay;
  settings.optim.gradient = config::GradientRule::kNormalise;
  settings.optim.lr_density_scaling = true;
  settings.train.batch = golden.batch;
  settings.train.shards = shards;
  return settings;
}

// One figure of the step records: the worst step stands in the table, and every step that misses.
class StepFigure {
 public:
  StepFigure(const GoldenCase& golden, const std::string& subject, double bound, Report& report)
      : golden_(golden), subject_(subject), report_(report) {
    worst_.case_name = golden.name;
    worst_.bound = bound;
  }

  // Relative distance; a truth of zero wants zero.
  void Compare(int64_t step, double ours, double truth) {
    Comparison row = worst_;
    row.subject = fmt::format("{} at step {}", subject_, step);
    row.distance = ours == truth ? 0 : std::fabs(ours - truth) / std::fabs(truth);
    row.note = fmt::format("{} instead of {}", ours, truth);
    if (!row.ok()) return report_.Add(row);
    if (worst_.subject.empty() || row.distance > worst_.distance) worst_ = row;
  }

  // The worst of the steps that did not miss.
  void Finish() {
    if (worst_.subject.empty()) return;
    worst_.subject = fmt::format("{} (worst of {} steps)", subject_, golden_.steps.size());
    worst_.note.clear();
    report_.Add(worst_);
  }

 private:
  const GoldenCase& golden_;
  std::string subject_;
  Report& report_;
  Comparison worst_;
};

int64_t CountNonzeros(const model::TensorInfo& info, const model::Arena& weights) {
  const float* w = weights.tensor(info);
  return std::count_if(w, w + info.numel(), [](float x) { return x != 0; });
}

// Every sparsified matrix has a count in the record, and every count a matrix.
void CompareNonzeros(const GoldenCase& golden, int64_t step, const train::TrainState& state, Report& report) {
  const StepRecord& record = golden.steps[step];
  Comparison row;
  row.case_name = golden.name;
  row.subject = fmt::format("nnz at step {}", step);
  for (int i = 0; i < state.registry.size(); ++i) {
    const model::TensorInfo& info = state.registry[i];
    const auto found = record.nonzeros.find(info.name);
    if (found == record.nonzeros.end()) {
      if (state.masks.sparsified(i)) {
        report.AddError(golden.name, fmt::format("steps[{}].nnz has no count of {}", step, info.name));
      }
      continue;
    }
    const int64_t count = CountNonzeros(info, state.weights);
    if (count == found->second) continue;
    row.distance += 1;
    row.note += fmt::format("{}{}: {} instead of {}", row.note.empty() ? "" : ", ", info.name, count, found->second);
  }
  for (const auto& [matrix, count] : record.nonzeros) {
    if (state.registry.Find(matrix) >= 0) continue;
    report.AddError(golden.name, fmt::format("steps[{}].nnz counts {}, which the model does not have", step, matrix));
  }
  if (!row.ok()) report.Add(row);
}

// One run of a case, with some of its ties taken the other way.
struct Attempt {
  std::vector<Tie> other_way;    // in the order of their steps
  std::vector<double> rounding;  // of each tensor (rounding.h); empty: not asked
  std::vector<Tie> ties;         // all that the run had
  Report report;
};

// Every step with its record. A status where a rank is lost.
absl::Status CompareSteps(const GoldenCase& golden, const Runner& runner, const config::Settings& settings,
                          train::TrainState& state, Attempt& attempt) {
  Report& report = attempt.report;
  auto stepper = std::make_unique<train::Stepper>(settings, state, *runner.pool, runner.world);
  TieWatch watch(golden, settings, state);
  StepFigure lr(golden, "lr", kScheduleBound, report), pfrac(golden, "pfrac", kScheduleBound, report);
  const double bf16 = golden.spec.rounds() ? BoundOfBf16(golden.spec).value : 0;
  StepFigure loss(golden, "loss", kLossBound + bf16, report);
  StepFigure grad_rms(golden, "grad_rms", kGradRmsBound, report);
  const size_t per_step = static_cast<size_t>(golden.batch) * golden.positions;
  for (int64_t s = 0; s < golden.training->steps; ++s) {
    const StepRecord& record = golden.steps[s];
    watch.Before();
    const absl::StatusOr<train::StepResult> step =
        stepper->Step(golden.tokens.data() + per_step * s, golden.batch, golden.positions);
    if (!step.ok()) return step.status();
    const train::StepResult& result = *step;
    for (model::Arena* moments : {&state.optimizer.m(), &state.optimizer.v()}) {  // for the watch, on every rank
      absl::Status gathered = stepper->ownership().GatherArena(*moments);
      if (!gathered.ok()) return gathered;
    }
    // Ties matter where weights must agree.
    for (const Tie& tie : bf16 > 0 ? std::vector<Tie>() : watch.After(s, result.lr)) {
      attempt.ties.push_back(tie);
      if (std::find(attempt.other_way.begin(), attempt.other_way.end(), tie) == attempt.other_way.end()) continue;
      TakeOtherWay(tie, state);
      // A new one takes the weights as they are now.
      stepper = std::make_unique<train::Stepper>(settings, state, *runner.pool, runner.world);
    }
    lr.Compare(s, result.lr, record.lr);
    pfrac.Compare(s, result.density * golden.training->ef * golden.training->ef, record.pfrac);
    loss.Compare(s, result.loss, record.loss);
    if (bf16 == 0) grad_rms.Compare(s, result.gradient_rms, record.grad_rms);
    CompareNonzeros(golden, s, state, report);
  }
  for (StepFigure* figure : {&lr, &pfrac, &loss, &grad_rms}) figure->Finish();
  if (report.misses() > 0) return absl::OkStatus();
  Comparison all;
  all.case_name = golden.name;
  all.subject = fmt::format("nnz of {} matrices ({} steps)", golden.steps[0].nonzeros.size(), golden.steps.size());
  report.Add(all);
  return absl::OkStatus();
}

absl::Status Run(const GoldenCase& golden, const Runner& runner, const config::Settings& settings, Attempt& attempt) {
  train::TrainState state(golden.spec, settings, LayoutFor(settings.sparsity.regime, model::Registry(golden.spec)));
  absl::Status read = ReadWeights(golden, state.registry, state.weights);
  if (!read.ok()) return read;
  if (absl::Status done = CompareSteps(golden, runner, settings, state, attempt); !done.ok()) return done;
  for (const Tie& tie : attempt.ties) {
    const bool turned = std::find(attempt.other_way.begin(), attempt.other_way.end(), tie) != attempt.other_way.end();
    attempt.report.Add(RowOf(golden, state.registry, tie, turned));
  }
  if (golden.spec.rounds()) {  // bf16_bound.h
    attempt.report.AddNote(golden.name, "activations as bf16: final weights and norms of gradients are not compared");
    return absl::OkStatus();
  }
  TensorComparer comparer(golden, attempt.report);
  for (int i = 0; i < state.registry.size(); ++i) {
    const model::TensorInfo& info = state.registry[i];
    const std::span<const float> values(state.weights.tensor(info), info.numel());
    comparer.Compare("out." + info.name, info.shape, values,
                     state.masks.sparsified(i) ? Zeros::kMustAgree : Zeros::kIgnore,
                     attempt.rounding.empty() ? 0 : attempt.rounding[i]);
  }
  comparer.Finish();
  return absl::OkStatus();
}

// What a run that missed may be tried with: one of its ties more, of those after the last it took, the closest first.
void AddOtherWays(const Attempt& missed, std::deque<std::vector<Tie>>& to_try) {
  std::vector<Tie> ties = missed.ties;
  std::stable_sort(ties.begin(), ties.end(), [](const Tie& a, const Tie& b) { return a.closeness() < b.closeness(); });
  for (const Tie& tie : ties) {
    if (!missed.other_way.empty() && tie.step <= missed.other_way.back().step) continue;
    to_try.push_back(missed.other_way);
    to_try.back().push_back(tie);
  }
}

}  // namespace

absl::Status RunTrainingCase(const GoldenCase& golden, const Runner& runner, Report& report) {
  const int data = runner.world == nullptr ? 1 : runner.world->grid().data;
  if (data > golden.batch) {
    return absl::InvalidArgumentError(
        fmt::format("{} sequences are too few for {} data-parallel ranks", golden.batch, data));
  }
  const config::Settings settings = SettingsOf(golden, runner.regime, std::clamp(runner.shards, data, golden.batch));
  Attempt first;
  std::deque<std::vector<Tie>> to_try = {{}};
  for (size_t runs = 0; runs < kMostRuns && !to_try.empty(); ++runs) {
    Attempt attempt;
    attempt.other_way = std::move(to_try.front());
    to_try.pop_front();
    if (absl::Status status = Run(golden, runner, settings, attempt); !status.ok()) return status;
    if (attempt.report.misses() == 0) {
      report.Append(attempt.report);
      return absl::OkStatus();
    }
    AddOtherWays(attempt, to_try);
    if (runs == 0) first = std::move(attempt);
  }
  // No way agrees: what the run as it is misses, unless rounding alone takes it so far.
  if (!MayBeRounding(first.report)) {
    report.Append(first.report);
    return absl::OkStatus();
  }
  Attempt again;
  absl::StatusOr<std::vector<double>> rounding = MeasureRounding(golden, runner, settings);
  if (!rounding.ok()) return rounding.status();
  again.rounding = *std::move(rounding);
  if (absl::Status status = Run(golden, runner, settings, again); !status.ok()) return status;
  report.Append(again.report.misses() == 0 ? again.report : first.report);
  return absl::OkStatus();
}

}  // namespace filigree::parity
