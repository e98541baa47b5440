#include "worker/bench/step.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/base/random.h"
#include "worker/bench/dense_gemm.h"
#include "worker/bench/limits.h"
#include "worker/bench/print.h"
#include "worker/config/load.h"
#include "worker/machine/clock.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/model/arena.h"
#include "worker/model/spec.h"
#include "worker/train/candidates.h"
#include "worker/train/cost.h"
#include "worker/train/memory.h"
#include "worker/train/state.h"
#include "worker/train/step.h"

namespace filigree::bench {
namespace {

constexpr int kWarmup = 2;
constexpr uint64_t kSeed = 1;

// Steady density from the first step on, and a learning rate that moves the weights, and so the masks, as training
// does.
absl::StatusOr<config::Settings> MakeSettings(const StepSizes& s) {
  for (const absl::Status& status :
       {CheckWhole("--d", s.d_model, 1, 16384), CheckWhole("--layers", s.layers, 1, 256),
        CheckWhole("--batch", s.batch, 1, 1 << 20), CheckWhole("--ctx", s.context, 2, 16384),
        CheckWhole("--vocab", s.vocab, 2, 65536), CheckWhole("--d-head", s.d_head, 1, 256),
        CheckWhole("--tensor-groups", s.tensor_groups, 1, 1024), CheckShare("--density", s.density),
        CheckShare("--embedding-density", s.embedding_density), CheckShare("--afrac", s.afrac),
        CheckWhole("--shards", s.shards, 1, s.batch), CheckWhole("--min-alive", s.min_alive, 0, s.d_model)}) {
    if (!status.ok()) return status;
  }
  if (s.regime != "exact" && s.regime != "active") {
    return absl::InvalidArgumentError(fmt::format("--regime is '{}', expected exact or active", s.regime));
  }
  if (s.activations != "fp32" && s.activations != "bf16") {
    return absl::InvalidArgumentError(fmt::format("--activations is '{}', expected fp32 or bf16", s.activations));
  }
  if (s.candidates < 1) return absl::InvalidArgumentError("--candidates is at least 1");
  if (s.refresh_every < 2 || s.refresh_every > 1000) {
    return absl::InvalidArgumentError(
        "--refresh-every is from 2 to 1000: at least one change of candidates and one step without are measured");
  }
  config::Settings settings;
  settings.run.steps = 1'000'000;
  settings.model.d_model = s.d_model;
  settings.model.n_layer = s.layers;
  settings.model.d_head = s.d_head;
  settings.model.n_ctx = s.context;
  settings.model.tensor_groups = s.tensor_groups;
  settings.model.afrac = s.afrac;
  settings.model.activation_storage =
      s.activations == "bf16" ? config::ActivationStorage::kBf16 : config::ActivationStorage::kFp32;
  settings.sparsity.regime = s.regime == "active" ? config::Regime::kActive : config::Regime::kExact;
  settings.sparsity.candidates = s.candidates;
  settings.sparsity.refresh_every = s.refresh_every;
  settings.sparsity.density = settings.sparsity.density_start = s.density;
  settings.sparsity.embedding_density = settings.sparsity.embedding_density_start = s.embedding_density;
  settings.sparsity.anneal_shape = config::AnnealShape::kConstant;
  settings.sparsity.min_alive = s.min_alive;
  settings.optim.warmup = 0;
  settings.train.batch = s.batch;
  settings.train.shards = s.shards;
  config::Resolve(settings);
  if (absl::Status status = config::Validate(settings); !status.ok()) return status;
  return settings;
}

// Weights, two moments, gradients of the shards' tree, candidate sets.
double ParameterBytes(const model::ModelSpec& spec, const config::Settings& settings) {
  const train::RunMemory memory = train::MemoryOfRun(spec, settings);
  return static_cast<double>(memory.state + memory.gradients + memory.sets);
}

// The least that the matrices of the model are really given.
int64_t SmallestMinAlive(const model::Registry& registry, const config::SparsitySettings& settings) {
  int64_t smallest = settings.min_alive;
  for (const model::TensorInfo& tensor : registry.tensors()) {
    if (tensor.density != model::Density::kWeight) continue;
    const int64_t k = mask::KeptEntries(settings.density, tensor.numel());
    smallest = std::min(smallest, mask::EffectiveMinAlive(tensor, k, settings.min_alive).j);
  }
  return smallest;
}

double ProcessCpuSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double PeakMemoryMib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;  // Linux counts in KiB
}

// Milliseconds of every step that counts.
struct StepTimes {
  std::vector<double> wall, cpu, forward, backward, optimizer, topk;
  std::vector<double> refresh;  // whole steps in which candidates changed: in none of the above
};

// Of an average step: see step.h.
double MsPerStep(const StepSizes& sizes, const StepTimes& times) {
  const double ms = Median(times.wall);
  return times.refresh.empty() ? ms : ms + (Median(times.refresh) - ms) / sizes.refresh_every;
}

// Fresh tokens every step, as the other side has.
absl::StatusOr<StepTimes> TimeSteps(const StepSizes& sizes, int steps, int threads, train::Stepper& stepper) {
  const kernels::CounterRng rng(kSeed, 0);
  std::vector<int32_t> tokens(static_cast<size_t>(sizes.batch) * sizes.context);
  StepTimes times;
  uint64_t drawn = 0;
  const int least = sizes.regime == "active" ? std::max(steps, sizes.refresh_every) : steps;
  for (int i = 0; i < kWarmup + least; ++i) {
    for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(drawn++, sizes.vocab));
    const double wall = machine::WallSeconds(), cpu = ProcessCpuSeconds();
    const absl::StatusOr<train::StepResult> stepped = stepper.Step(tokens.data(), sizes.batch, sizes.context);
    const double wall_end = machine::WallSeconds(), cpu_end = ProcessCpuSeconds();
    if (!stepped.ok()) return stepped.status();
    const train::StepResult& result = *stepped;
    if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
      return absl::InternalError(fmt::format("bench: the loss of step {} is {}", i, result.loss));
    }
    if (i < kWarmup) continue;
    if (result.refreshed) {
      times.refresh.push_back(1e3 * (wall_end - wall));
      continue;
    }
    times.wall.push_back(1e3 * (wall_end - wall));
    times.cpu.push_back(1e3 * (cpu_end - cpu) / threads);
    times.forward.push_back(1e3 * result.forward_seconds);
    times.backward.push_back(1e3 * result.backward_seconds);
    times.optimizer.push_back(1e3 * result.optimizer_seconds);
    times.topk.push_back(1e3 * result.topk_seconds);
  }
  return times;
}

double Tenths(double x) { return std::round(10 * x) / 10; }

// The keys both sides have.
nlohmann::ordered_json SharedKeys(const StepSizes& s, const train::TrainState& state, const StepTimes& times,
                                  int threads) {
  const double ms = MsPerStep(s, times), tokens = static_cast<double>(s.batch) * s.context;
  nlohmann::ordered_json line;
  line["variant"] = "filigree-" + s.regime;
  line["dtype"] = s.activations;
  line["d_model"] = s.d_model;
  line["layers"] = s.layers;
  line["tokens"] = s.batch * s.context;
  line["density"] = s.density;
  line["params"] = state.registry.trained_elements();
  line["stored"] = state.layout->stored_elements();
  line["threads"] = threads;
  line["ms_per_step"] = Tenths(ms);
  line["min_ms"] = Tenths(*std::min_element(times.wall.begin(), times.wall.end()));
  line["tokens_per_s"] = Tenths(1e3 * tokens / ms);
  return line;
}

std::unique_ptr<train::TrainState> Begin(const StepSizes& sizes, const model::ModelSpec& spec,
                                         const config::Settings& settings, kernels::ThreadPool& pool) {
  if (settings.sparsity.regime == config::Regime::kActive) return train::BeginActive(spec, settings, pool);
  auto state = std::make_unique<train::TrainState>(spec, settings);
  model::InitialiseWeights(state->registry, kSeed, pool, state->weights);
  const mask::Densities densities{.weight = sizes.density, .embedding = sizes.embedding_density};
  state->masks.Update(densities, /*decay=*/1, pool, state->weights);
  return state;
}

}  // namespace

absl::StatusOr<StepReport> RunStep(const StepSizes& sizes, const Common& common) {
  const absl::StatusOr<Common> checked = CheckCommon(common, "--steps");
  if (!checked.ok()) return checked.status();
  const absl::StatusOr<config::Settings> settings = MakeSettings(sizes);
  if (!settings.ok()) return settings.status();
  const absl::StatusOr<model::ModelSpec> spec = model::MakeSpec(settings->model, sizes.vocab);
  if (!spec.ok()) return spec.status();
  const double parameter_bytes = ParameterBytes(*spec, *settings);
  if (absl::Status status = CheckMemory(parameter_bytes); !status.ok()) return status;

  Bench bench(checked->threads);
  const std::unique_ptr<train::TrainState> begun = Begin(sizes, *spec, *settings, bench.pool);
  train::TrainState& state = *begun;
  train::Stepper stepper(*settings, state, bench.pool);
  const absl::StatusOr<StepTimes> times = TimeSteps(sizes, checked->repeats, checked->threads, stepper);
  if (!times.ok()) return times.status();
  const double peak_memory = PeakMemoryMib();  // before the dense product takes its own

  StepReport report{.line = SharedKeys(sizes, state, *times, checked->threads), .machine = bench.machine};
  nlohmann::ordered_json& line = report.line;
  line["dense_fp32_gflops"] = Tenths(MeasureDenseGflops(2048, bench.pool));
  line["tensor_groups"] = sizes.tensor_groups;
  line["f_e"] = sizes.embedding_density;
  line["shards"] = sizes.shards;
  line["min_alive"] = SmallestMinAlive(state.registry, settings->sparsity);
  line.update({{"batch", sizes.batch}, {"ctx", sizes.context}, {"vocab", sizes.vocab}});
  line.update({{"afrac", sizes.afrac}, {"steps", checked->repeats}});
  line["forward_ms"] = Tenths(Median(times->forward));
  line["backward_ms"] = Tenths(Median(times->backward));
  line["optimizer_ms"] = Tenths(Median(times->optimizer));
  line["topk_ms"] = Tenths(Median(times->topk));
  if (!times->refresh.empty()) {
    line["candidates"] = sizes.candidates;
    line["refresh_every"] = sizes.refresh_every;
    line["refresh_ms"] = Tenths(Median(times->refresh) - Median(times->wall));
  }
  line["cpu_ms_per_step"] = Tenths(Median(times->cpu));
  const train::StepCost cost = train::CostOfStep(
      *spec, state.registry, *state.layout, [&](int tensor) { return state.masks.nonzeros(tensor); }, sizes.batch,
      sizes.context);
  line["percent_of_peak"] = Tenths(1e5 * bench.machine.SecondsAtBest(cost.flops, cost.bytes) / Median(times->wall));
  line["parameter_memory_mib"] = Tenths(parameter_bytes / (1 << 20));
  line["peak_memory_mib"] = Tenths(peak_memory);
  line.update(MachineJson(bench.machine));
  return report;
}

std::string FormatJson(const StepReport& report) { return report.line.dump() + "\n"; }

std::string FormatTable(const StepReport& report) {
  std::string text = report.machine.Describe() + "\n";
  for (const auto& [key, value] : report.line.items()) {
    if (key == "cpu") break;  // from here on the machine, which stands above
    text += fmt::format("{:<22} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace filigree::bench
