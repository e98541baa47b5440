#ifndef FILIGREE_WORKER_BENCH_STEP_H_
#define FILIGREE_WORKER_BENCH_STEP_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "worker/bench/bench.h"
#include "worker/config/settings.h"

// One whole training step at steady density, by the trainer's own code with its defaults, on random tokens: forward,
// loss, backward, gradient scale, Adam, mask. The line has the keys of the PyTorch step it is compared with, so that
// the two join; dtype is that of the stored activations, arithmetic is fp32.
//
//   variant, dtype, d_model, layers, tokens, density, params, threads, ms_per_step, min_ms, tokens_per_s,
//   dense_fp32_gflops
//
// and then our own: f_e, shards, min_alive (the smallest that a matrix really has), batch, ctx, vocab, afrac, steps;
// median ms of forward, backward, optimizer and topk; cpu_ms_per_step (processor time of all threads over their number:
// what is left when other programs are taken out); percent_of_peak (train/cost.h against the measured machine);
// peak_memory_mib of the process; the machine.

namespace filigree::bench {

struct StepSizes {
  int d_model = 512, layers = 4, batch = 16, context = 256, vocab = 2048, d_head = 16;
  int tensor_groups = 1;
  double density = 1.0 / 64;
  double embedding_density = config::SparsitySettings{}.embedding_density;
  double afrac = config::ModelSettings{}.afrac;
  int shards = static_cast<int>(config::TrainSettings{}.shards);
  int min_alive = static_cast<int>(config::SparsitySettings{}.min_alive);
  std::string regime = "exact";  // or "active"
  double candidates = config::SparsitySettings{}.candidates;
  int refresh_every = static_cast<int>(config::SparsitySettings{}.refresh_every);
  std::string activations = "fp32";  // how they are stored; or "bf16"
};

struct StepReport {
  nlohmann::ordered_json line;
  machine::Machine machine;
};

// `common.repeats` steps, after two that do not count; in the active regime enough to hold one change of candidates.
// ms_per_step is the median of the others, plus the share of a change that a step bears: what a change costs beyond a
// step like the others (refresh_ms), divided by refresh_every.
absl::StatusOr<StepReport> RunStep(const StepSizes& sizes, const Common& common);

std::string FormatJson(const StepReport& report);
std::string FormatTable(const StepReport& report);

}  // namespace filigree::bench

#endif  // FILIGREE_WORKER_BENCH_STEP_H_
