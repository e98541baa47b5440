#ifndef FILIGREE_WORKER_CONFIG_SETTINGS_H_
#define FILIGREE_WORKER_CONFIG_SETTINGS_H_

#include <cstdint>
#include <string>
#include <vector>

// The settings of one run: plain values with their defaults, one struct a section of the TOML file. keys.h describes
// every key once (type, range, help, what a resume may change); load.h reads, checks, prints and compares settings.
//
// Settings that load.h hands out are resolved and valid: model.d_mlp, sparsity.regime and what else may be "auto" there
// hold what will be used, and every rule of Validate holds.
//
// Fractions of a run (warmup, anneal_start, anneal_end) are of run.steps. Paths are relative to the working folder.

namespace filigree::config {

enum class Activation { kGelu, kRelu };
enum class ActivationStorage { kFp32, kBf16 };
enum class Regime { kAuto, kExact, kActive };
enum class AnnealShape { kLinear, kPower, kConstant };
enum class Biases { kDense, kSparse };
enum class MaskScope { kMatrix, kGlobal };
enum class Newcomers { kNorms, kRandom, kVotes, kGradient, kProposals };
enum class GradientRule { kNormalise, kClip };
enum class Backend { kAuto, kLocal, kMpi, kGloo };
enum class Exchange { kTree, kDense, kTopK, kBalanced };
enum class Wire { kFp32, kBf16 };
enum class Overlap { kAuto, kOn, kOff };

struct RunSettings {
  std::string dir;       // the run folder: log, settings, checkpoints
  std::string name;      // for people; empty: the last part of dir
  int64_t steps = 1000;  // S
  int64_t threads = 0;   // 0: all cores; never changes a bit of the result
  int64_t seed = 1;      // of initial weights, order of the data, samples
};

struct DataSettings {
  std::string dir;  // the folder `filigree prepare` wrote
};

struct ModelSettings {
  int64_t d_model = 256;  // D
  int64_t n_layer = 4;    // L
  int64_t d_head = 16;    // K; H = D / K
  int64_t d_mlp = 0;      // F; 0: 4 D
  int64_t n_ctx = 256;    // T
  Activation activation = Activation::kGelu;
  double afrac = 0.25;  // AbsTopK keeps floor(afrac * channels); 1: off
  std::vector<std::string> topk_places = {"attn_in",  "attn_q", "attn_k",     "attn_v",
                                          "attn_out", "mlp_in", "mlp_neuron", "mlp_out"};
  bool sink = false;      // attention sinks
  bool bigram = true;     // the dense learned [V, V] table
  int64_t d_pos_emb = 0;  // P position channels; 0: none
  // G: heads, neurons and vocabulary are summed over in so many groups; parallel.tensor may be any divisor of it.
  int64_t tensor_groups = 1;
  ActivationStorage activation_storage = ActivationStorage::kFp32;  // of what layers keep for the backward pass
};

// The density of a step: with x = clamp((s - a) / (b - a), 0, 1), a = anneal_start * S, b = anneal_end * S,
//   linear    f(s) = start + (final - start) * x
//   power     f(s) = final + (start - final) * (1 - x)^anneal_power
//   constant  f(s) = final
struct SparsitySettings {
  Regime regime = Regime::kAuto;
  double density = 0.0625;             // f_w at the end: c_attn, c_fc, both c_proj
  double embedding_density = 0.25;     // f_e at the end: wte, lm_head
  double density_start = 1;            // f_w at the start
  double embedding_density_start = 1;  // f_e at the start
  double anneal_start = 0.01;
  double anneal_end = 0.5;
  AnnealShape anneal_shape = AnnealShape::kLinear;
  double anneal_power = 3;
  int64_t min_alive = 4;  // j: a unit's entries that are always kept, lowered where k is too small
  Biases biases = Biases::kDense;
  MaskScope scope = MaskScope::kMatrix;  // what shares a threshold: a matrix, or all matrices of all layers
  // Active regime (docs/policy.md).
  double candidates = 4;                    // c: |C| = c k entries of a matrix exist
  int64_t refresh_every = 10;               // R, steps between changes of the candidates
  double drop = 0.5;                        // share of the reserve that a refresh replaces
  Newcomers newcomers = Newcomers::kNorms;  // how its successors are drawn
  int64_t line_reserve = 0;                 // reserve entries that every row and column has at least
  bool dense_phase = true;                  // a matrix stays whole while c k reaches its size
};

struct OptimSettings {
  double lr = 0.0512;
  double warmup = 0.01;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 0.1;
  double weight_decay = 0.1;
  GradientRule gradient = GradientRule::kNormalise;
  bool lr_density_scaling = true;  // lr * sqrt(f_w,final / f_w(s))
};

struct TrainSettings {
  int64_t batch = 16;  // B, sequences a step
  int64_t shards = 4;  // logical shards: the batch is cut into this many contiguous, nearly equal runs of sequences
};

// The grid of ranks: data x tensor processes train one model (docs/parallel.md).
struct ParallelSettings {
  int64_t data = 0;    // data-parallel size; 0: what the ranks that were started leave beside parallel.tensor
  int64_t tensor = 1;  // tensor-parallel size
  Backend backend = Backend::kAuto;
  double stuck_after = 5;  // seconds a rank may be silent at least; 3 median steps where that is longer
  bool elastic = true;     // ranks that meet through a store go on without one that is lost; else the job ends
  // How gradients are summed over data-parallel ranks (docs/parallel.md).
  Exchange exchange = Exchange::kTree;
  Wire wire = Wire::kFp32;
  Overlap overlap = Overlap::kAuto;  // of the exchange with backward, tree; never changes a bit of the result
  double bigram_share = 0.0625;  // of the bigram table's gradient that travels in a step, tree over bf16; 1: all of it
  double topk_share = 0.01;      // of all entries that travel in a step, top-k and balanced
};

struct EvalSettings {
  int64_t every = 100;     // steps; 0: never. The last step is always evaluated unless 0.
  int64_t sequences = 64;  // of the validation part
};

struct SampleSettings {
  int64_t every = 250;  // steps; 0: never
  int64_t tokens = 128;
  double temperature = 0.8;  // 0: the most likely token
  double top_p = 0.95;
  std::string prompt = "def ";
};

struct CheckpointSettings {
  int64_t every = 250;  // steps; 0: only at the end and on request
  int64_t keep = 2;     // the newest this many stay
};

// What this rank shows of itself over HTTP (docs/operate/metrics.md).
struct TelemetrySettings {
  std::string listen;  // HOST:PORT; ranks of one host take PORT, PORT + 1, ...; empty: nothing is shown
  bool open = false;   // whether other machines may reach `listen`
  std::string job;     // the coordinator's id of this run; empty: a run alone
  std::string serve;   // HOST:PORT of a coordinator for this run alone; empty: none
};

struct InitSettings {
  std::string from;  // a folder of an import or a checkpoint to start from; empty: random weights
};

struct Settings {
  RunSettings run;
  DataSettings data;
  ModelSettings model;
  SparsitySettings sparsity;
  OptimSettings optim;
  TrainSettings train;
  ParallelSettings parallel;
  EvalSettings eval;
  SampleSettings sample;
  CheckpointSettings checkpoint;
  TelemetrySettings telemetry;
  InitSettings init;
};

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_SETTINGS_H_
