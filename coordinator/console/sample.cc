#include "coordinator/console/sample.h"

#include "coordinator/rpc/views.h"

namespace filigree::coordinator {
namespace {

double MeanChurn(const RunFigures& figures) {
  double sum = 0;
  int known = 0;
  for (const MatrixFigures& matrix : figures.matrices) {
    if (!matrix.churn) continue;
    sum += *matrix.churn;
    ++known;
  }
  return known == 0 ? kUnknown : sum / known;
}

void AddFigures(const RunFigures& figures, Sample& sample) {
  sample.target_steps = figures.target_steps;
  sample.train_loss = figures.train_loss.value_or(kUnknown);
  sample.val_loss = figures.val_loss.value_or(kUnknown);
  sample.density = figures.density.value_or(kUnknown);
  sample.learning_rate = figures.learning_rate.value_or(kUnknown);
  sample.tokens = static_cast<double>(figures.tokens);
  sample.churn = MeanChurn(figures);
}

}  // namespace

Sample SampleOf(const Core& core, const JobRow& row, Now now) {
  Sample sample;
  sample.wall_us = now.wall_us;
  sample.generation = row.generation;
  const v1::Progress progress = ViewOfProgress(core, row, now.monotonic_us);
  sample.step = progress.step();
  if (progress.step_seconds() > 0) sample.step_seconds = progress.step_seconds();
  const v1::PhaseSeconds& phases = progress.phases();
  sample.phases = {phases.data(),     phases.forward(),   phases.backward(), phases.compress(),
                   phases.exchange(), phases.optimizer(), phases.topk(),     phases.checkpoint()};
  sample.sent_bytes = static_cast<double>(progress.sent_bytes());
  sample.dense_equivalent_bytes = static_cast<double>(progress.dense_equivalent_bytes());
  const JobMemory* memory = GenerationMemory(core, row);
  if (memory == nullptr || memory->ranks.empty()) return sample;
  if (const RunFigures* figures = memory->ranks.front().figures(); figures != nullptr) AddFigures(*figures, sample);
  return sample;
}

}  // namespace filigree::coordinator
