#ifndef FILIGREE_TESTS_WORKER_REPORT_SYNTHETIC_RUN_H_
#define FILIGREE_TESTS_WORKER_REPORT_SYNTHETIC_RUN_H_

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/support/tiles.h"
#include "worker/telemetry/read_log.h"

// The log of a run that nobody trained, shaped as a real one: noise, warmup, anneal, a resume, evaluations, samples,
// snapshots.

namespace filigree::testing_support {

struct SyntheticOptions {
  int64_t steps = 600;  // planned
  int64_t until = 600;  // logged
  int64_t layers = 4;
  int64_t eval_every = 100;
  bool count_nonzeros = true;
};

inline double SyntheticDensity(double s, double steps, double last) {
  return 1 + (last - 1) * std::clamp((s / steps - 0.01) / 0.49, 0.0, 1.0);
}

inline telemetry::SnapshotRecord SyntheticSnapshot(const SyntheticOptions& o, int64_t step, Rng& rng) {
  telemetry::SnapshotRecord snapshot{step, {}};
  const double f_w = SyntheticDensity(static_cast<double>(step), static_cast<double>(o.steps), 1.0 / 16);
  const double f_e = SyntheticDensity(static_cast<double>(step), static_cast<double>(o.steps), 1.0 / 4);
  const auto add = [&](int64_t layer, const std::string& kind, int64_t rows, int64_t columns, int64_t units, double f) {
    telemetry::MatrixSnapshot m;
    m.layer = layer;
    m.kind = kind;
    m.name = layer < 0 ? kind : fmt::format("transformer.h.{}.{}.weight", layer, kind);
    m.numel = rows * columns;
    m.nnz = static_cast<int64_t>(f * static_cast<double>(m.numel));
    m.units = units;
    m.alive_units = units - (layer < 0 && f < 0.5 ? static_cast<int64_t>(rng.Below(units / 20)) : 0);
    m.threshold = 0.02 * (1 - f) + 1e-6;
    const double scale = 0.02 + 0.3 * (1 - f);
    int64_t left = m.nnz;
    for (int i = 0; i < 4000; ++i) {
      const double w = std::abs(rng.Normal()) * scale;
      const int64_t n = i == 3999 ? left : m.nnz / 4000;
      if (w >= m.threshold) m.magnitudes[telemetry::MagnitudeBin(static_cast<float>(w))] += n;
      left -= n;
    }
    snapshot.matrices.push_back(m);
  };
  for (int64_t l = 0; l < o.layers; ++l) {
    add(l, "attn.c_attn", 768, 256, 768, f_w);
    add(l, "attn.c_proj", 256, 256, 256, f_w);
    add(l, "mlp.c_fc", 1024, 256, 1024, f_w);
    add(l, "mlp.c_proj", 256, 1024, 1024, f_w);
  }
  add(-1, "wte", 2048, 256, 2048, f_e);
  add(-1, "lm_head", 2048, 256, 2048, f_e);
  return snapshot;
}

inline telemetry::StepRecord SyntheticStep(const SyntheticOptions& o, int64_t s, double& z, Rng& rng) {
  telemetry::StepRecord r;
  const double x = static_cast<double>(s) / static_cast<double>(o.steps);
  const double noise = rng.Normal();
  r.step = s;
  r.loss =
      2.75 + 4.9 * std::exp(-18 * x) + 0.5 * std::exp(-3 * std::abs(x - 0.5)) * (x > 0.1 ? 1 : 0) * x + 0.09 * noise;
  z = 0.5 * z + noise;
  r.z_score = noise;
  r.density = SyntheticDensity(static_cast<double>(s), static_cast<double>(o.steps), 1.0 / 16);
  r.embedding_density = SyntheticDensity(static_cast<double>(s), static_cast<double>(o.steps), 1.0 / 4);
  r.lr = 0.0512 * (x < 0.02 ? x / 0.02 : (1 - x) / 0.98) * std::sqrt(1.0 / 16 / r.density);
  r.gradient_norm = 0.4 * std::exp(0.25 * rng.Normal()) + 3 * std::exp(-30 * x);
  r.gradient_rms = r.gradient_norm / 2900;
  r.ms = 520 - 300 * std::clamp(x / 0.5, 0.0, 1.0) + 12 * std::abs(rng.Normal()) + (s % 200 == 199 ? 150 : 0);
  r.tokens_per_second = 4096 / r.ms * 1000;
  r.percent_of_peak = 62 - 30 * std::clamp(x / 0.5, 0.0, 1.0) + rng.Normal();
  r.bits_per_byte = r.loss * 0.47;
  r.epochs = static_cast<double>(s + 1) * 4096 / 3.1e6;
  const double seconds = r.ms / 1000;
  r.phase_seconds = {0.001, 0.36 * seconds, 0.47 * seconds, 0,
                     0,     0.06 * seconds, 0.05 * seconds, s % 200 == 199 ? 0.1 : 0};
  if (o.count_nonzeros && (s + 1) % o.eval_every == 0)
    for (int64_t l = 0; l < o.layers; ++l)
      r.nnz.push_back(
          {fmt::format("transformer.h.{}.mlp.c_fc.weight", l), static_cast<int64_t>(r.density * 1024 * 256)});
  return r;
}

// The lines of the log.
inline std::string SyntheticLog(const SyntheticOptions& o) {
  using telemetry::FormatRecord;
  Rng rng(2025);
  double z = 0;
  const std::vector<telemetry::NamedValue> baselines = {
      {"uniform", 7.6246}, {"unigram", 5.6342}, {"bigram KN", 3.4912}};
  telemetry::RunRecord run{0,
                           o.steps,
                           4096,
                           1.7641e9,
                           "quickstart",
                           baselines,
                           {{"parameters", "8,402,944, of which 459,776 nonzero at the end"},
                            {"threads", "2 of 2"},
                            {"processor", "AMD EPYC 9B45, AVX-512"},
                            {"min alive", "4 of 16 nonzeros a unit on average (25 % of k)"},
                            {"corpus", "data/python: 3.1 M tokens, 11.2 MB, sha256 5f0c..."},
                            {"revision", "41fae25"}}};
  std::string text = FormatRecord(run) + FormatRecord(SyntheticSnapshot(o, 0, rng));
  for (int64_t s = 0; s < o.until; ++s) {
    text += FormatRecord(SyntheticStep(o, s, z, rng));
    const int64_t done = s + 1;
    if (done == o.steps / 3 + 1) {
      run.step = done;
      run.started += 300;
      text += FormatRecord(run);
    }
    if (done % o.eval_every == 0 || done == o.steps) {
      const double x = static_cast<double>(s) / static_cast<double>(o.steps);
      const double loss = 2.9 + 4.7 * std::exp(-18 * x);
      text += FormatRecord(telemetry::EvalRecord{done, loss, loss * 0.47, 16320, 1.4, baselines});
      text += FormatRecord(SyntheticSnapshot(o, done, rng));
      text += FormatRecord(
          telemetry::SampleRecord{done, "def ",
                                  fmt::format("load_{}(self, path, mode='r'):\n    \"\"\"Read <path> & return "
                                              "it.\"\"\"\n    with open(path, mode) as f:\n        return f.read()\n",
                                              done)});
      text += FormatRecord(telemetry::CheckpointRecord{done, 0.12, 67'400'000, fmt::format("checkpoints/{:08}", done)});
    }
    if (done == o.steps / 2)
      text += FormatRecord(telemetry::NoteRecord{done, "checkpoint failed: no space left on device; training goes on"});
  }
  if (o.until == o.steps) text += FormatRecord(telemetry::EndRecord{o.steps, 185.2, "done"});
  return text;
}

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_WORKER_REPORT_SYNTHETIC_RUN_H_
