#include "worker/config/keys.h"

namespace filigree::config {
namespace {

// The field `member` of the section `section`.
template <auto section, auto member>
constexpr auto Locate() {
  using T = std::remove_reference_t<decltype(std::declval<Settings&>().*section.*member)>;
  return At<T>{[](Settings& s) -> T& { return s.*section.*member; },
               [](const Settings& s) -> const T& { return s.*section.*member; }};
}

template <auto section, auto member>
Field Int(int64_t low, int64_t high) {
  return IntField{Locate<section, member>(), low, high};
}

template <auto section, auto member>
Field Real(double low, double high, Bounds bounds = Bounds::kClosed) {
  return RealField{Locate<section, member>(), low, high, bounds, false};
}

// Or "auto".
template <auto section, auto member>
Field RealOrAuto(double low, double high, Bounds bounds = Bounds::kClosed) {
  return RealField{Locate<section, member>(), low, high, bounds, true};
}

template <auto section, auto member>
Field Bool() {
  return BoolField{Locate<section, member>()};
}

template <auto section, auto member>
Field Line() {
  return TextField{Locate<section, member>(), true};
}

template <auto section, auto member>
Field Text() {
  return TextField{Locate<section, member>(), false};
}

// An enum whose values count up from 0 in the order of `words`.
template <auto section, auto member>
Field Choice(std::vector<std::string> words) {
  using E = std::remove_reference_t<decltype(std::declval<Settings&>().*section.*member)>;
  return ChoiceField{[](const Settings& s) { return static_cast<int>(s.*section.*member); },
                     [](Settings& s, int i) { s.*section.*member = static_cast<E>(i); }, std::move(words)};
}

constexpr int64_t kMany = 1'000'000'000;

void AddRunKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::run;
  using R = RunSettings;
  keys.insert(
      keys.end(),
      {{"run.dir", OnResume::kFree, "the run folder: log, settings, checkpoints", Line<S, &R::dir>()},
       {"run.name", OnResume::kFree, "for people; empty: the last part of run.dir", Line<S, &R::name>()},
       {"run.steps", OnResume::kFixed, "S, the length of the run; every schedule is a fraction of it",
        Int<S, &R::steps>(1, kMany)},
       {"run.threads", OnResume::kFree, "0: all cores; never changes a bit of the result",
        Int<S, &R::threads>(0, 1024)},
       {"run.seed", OnResume::kFixed, "of the initial weights, the order of the data, the samples",
        Int<S, &R::seed>(0, INT64_MAX)},
       {"data.dir", OnResume::kFree, "the folder `filigree prepare` wrote; a resumed run checks its digest",
        Line<&Settings::data, &DataSettings::dir>()},
       {"init.from", OnResume::kFixed, "a folder of an import or a checkpoint to start from; empty: random weights",
        Line<&Settings::init, &InitSettings::from>()}});
}

// The upper ends of sizes keep every tensor below 2^31 elements, also where d_mlp is left at 4 D.
void AddModelKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::model;
  using M = ModelSettings;
  keys.insert(
      keys.end(),
      {{"model.d_model", OnResume::kFixed, "D, the width; a multiple of d_head", Int<S, &M::d_model>(1, 16384)},
       {"model.n_layer", OnResume::kFixed, "L", Int<S, &M::n_layer>(1, 256)},
       {"model.d_head", OnResume::kFixed, "K; there are D / K heads", Int<S, &M::d_head>(1, 256)},
       {"model.d_mlp", OnResume::kFixed, "F, neurons a layer; 0: 4 D", Int<S, &M::d_mlp>(0, 65536)},
       {"model.n_ctx", OnResume::kFixed, "T, positions of a sequence", Int<S, &M::n_ctx>(2, 16384)},
       {"model.activation", OnResume::kFixed, "of the neurons", Choice<S, &M::activation>({"gelu", "relu"})},
       {"model.afrac", OnResume::kFixed, "AbsTopK keeps floor(afrac * channels) of each position; 1: off",
        Real<S, &M::afrac>(0, 1, Bounds::kOpenLow)},
       {"model.topk_places", OnResume::kFixed, "where AbsTopK acts",
        WordsField{Locate<S, &M::topk_places>(), TopkPlaces()}},
       {"model.sink", OnResume::kFixed, "attention sinks", Bool<S, &M::sink>()},
       {"model.bigram", OnResume::kFixed, "the dense learned [V, V] table", Bool<S, &M::bigram>()},
       {"model.d_pos_emb", OnResume::kFixed, "P, concatenated position channels; 0: none",
        Int<S, &M::d_pos_emb>(0, 16384)},
       {"model.tensor_groups", OnResume::kFixed,
        "G, groups of heads, neurons and vocabulary; fixes the order of sums, so that ranks can share the model",
        Int<S, &M::tensor_groups>(1, 1024)},
       {"model.activation_storage", OnResume::kFree,
        "of what layers keep for the backward pass; bf16: half the memory, inputs of linear layers and q, k, v rounded",
        Choice<S, &M::activation_storage>({"fp32", "bf16"})}});
}

void AddSparsityKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::sparsity;
  using P = SparsitySettings;
  const Bounds half_open = Bounds::kOpenLow;
  keys.insert(
      keys.end(),
      {{"sparsity.regime", OnResume::kFree,
        "exact: dense gradients and moments; active: on candidates only; auto: whichever wins",
        Choice<S, &P::regime>({"auto", "exact", "active"})},
       {"sparsity.density", OnResume::kFixed, "f_w at the end: c_attn, c_fc, both c_proj",
        Real<S, &P::density>(0, 1, half_open)},
       {"sparsity.embedding_density", OnResume::kFixed, "f_e at the end: wte, lm_head",
        Real<S, &P::embedding_density>(0, 1, half_open)},
       {"sparsity.density_start", OnResume::kFixed,
        "f_w at the start; auto: 1 in the exact regime, in the active one by the policy",
        RealOrAuto<S, &P::density_start>(0, 1, half_open)},
       {"sparsity.embedding_density_start", OnResume::kFixed, "f_e at the start; auto: likewise",
        RealOrAuto<S, &P::embedding_density_start>(0, 1, half_open)},
       {"sparsity.anneal_start", OnResume::kFixed, "fraction of the run", Real<S, &P::anneal_start>(0, 1)},
       {"sparsity.anneal_end", OnResume::kFixed, "fraction of the run; auto: likewise",
        RealOrAuto<S, &P::anneal_end>(0, 1, half_open)},
       {"sparsity.anneal_shape", OnResume::kFixed, "of the density between the two",
        Choice<S, &P::anneal_shape>({"linear", "power", "constant"})},
       {"sparsity.anneal_power", OnResume::kFixed, "exponent of the shape power",
        Real<S, &P::anneal_power>(0, 100, half_open)},
       {"sparsity.min_alive", OnResume::kFixed, "j, entries of a unit that always stay; lowered where k is too small",
        Int<S, &P::min_alive>(0, 16384)},
       {"sparsity.biases", OnResume::kFixed, "whether biases are pruned like matrices",
        Choice<S, &P::biases>({"dense", "sparse"})},
       {"sparsity.scope", OnResume::kFixed,
        "what one threshold of the mask is for: each matrix (the paper), or all matrices of all layers together; "
        "embeddings always have their own",
        Choice<S, &P::scope>({"matrix", "global"})},
       {"sparsity.candidates", OnResume::kFree,
        "active regime: c, entries that exist per entry of the mask; auto: by the policy",
        RealOrAuto<S, &P::candidates>(1, 65536)},
       {"sparsity.refresh_every", OnResume::kFree,
        "active regime: R, steps between changes of the candidates; 0: never", Int<S, &P::refresh_every>(0, kMany)},
       {"sparsity.drop", OnResume::kFree, "active regime: share of the reserve that a refresh replaces",
        Real<S, &P::drop>(0, 1)},
       {"sparsity.newcomers", OnResume::kFree,
        "active regime: by row norm times column norm of the gradient's factors; all alike; by sampled votes; by the "
        "dense gradient (an oracle: dense work and memory); by what the logical shards propose, agreed on by all ranks",
        Choice<S, &P::newcomers>({"norms", "random", "votes", "gradient", "proposals"})},
       {"sparsity.line_reserve", OnResume::kFree,
        "active regime: reserve entries that every row and column has at least, as far as they reach",
        Int<S, &P::line_reserve>(0, 65536)},
       {"sparsity.dense_phase", OnResume::kFree,
        "active regime: a matrix stays whole while its candidates would be all of it", Bool<S, &P::dense_phase>()}});
}

void AddOptimKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::optim;
  using O = OptimSettings;
  keys.insert(
      keys.end(),
      {{"optim.lr", OnResume::kFixed, "the base learning rate", Real<S, &O::lr>(0, 1000, Bounds::kOpenLow)},
       {"optim.warmup", OnResume::kFixed, "fraction of the run", Real<S, &O::warmup>(0, 1, Bounds::kOpenHigh)},
       {"optim.beta1", OnResume::kFixed, "of Adam", Real<S, &O::beta1>(0, 1, Bounds::kOpenHigh)},
       {"optim.beta2", OnResume::kFixed, "of Adam", Real<S, &O::beta2>(0, 1, Bounds::kOpenHigh)},
       {"optim.eps", OnResume::kFixed, "of Adam", Real<S, &O::eps>(1e-30, 1000)},
       {"optim.weight_decay", OnResume::kFixed, "decoupled, after the mask", Real<S, &O::weight_decay>(0, 1000)},
       {"optim.gradient", OnResume::kFixed, "normalise: divide by rms + 1e-5; clip: divide by max(rms, 1)",
        Choice<S, &O::gradient>({"normalise", "clip"})},
       {"optim.lr_density_scaling", OnResume::kFixed, "lr * sqrt(final density / density of the step)",
        Bool<S, &O::lr_density_scaling>()},
       {"train.batch", OnResume::kFixed, "B, sequences a step",
        Int<&Settings::train, &TrainSettings::batch>(1, 1 << 20)},
       {"train.shards", OnResume::kFixed, "logical shards the batch is cut into; fixes the order of sums",
        Int<&Settings::train, &TrainSettings::shards>(1, 4096)}});
}

void AddParallelKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::parallel;
  using P = ParallelSettings;
  keys.insert(
      keys.end(),
      {{"parallel.data", OnResume::kFree, "data-parallel ranks; 0: all that were started, divided by parallel.tensor",
        Int<S, &P::data>(0, 65536)},
       {"parallel.tensor", OnResume::kFree, "tensor-parallel ranks", Int<S, &P::tensor>(1, 1024)},
       {"parallel.backend", OnResume::kFree,
        "what carries messages; auto: mpi where mpirun or srun started us, gloo where FILIGREE_STORE is set",
        Choice<S, &P::backend>({"auto", "local", "mpi", "gloo"})},
       {"parallel.stuck_after", OnResume::kFree,
        "seconds a rank may be silent before it is given up, at least; 3 median steps where that is longer",
        Real<S, &P::stuck_after>(0.1, 86400)},
       {"parallel.elastic", OnResume::kFree, "gloo: after the loss of a rank the others go on; false: the job ends",
        Bool<S, &P::elastic>()},
       {"parallel.exchange", OnResume::kFixed,
        "sums of gradients over ranks; tree: along the logical shards; dense: all-reduce; top-k: each rank's largest, "
        "the "
        "rest later; balanced: the largest of the sum",
        Choice<S, &P::exchange>({"tree", "dense", "top-k", "balanced"})},
       {"parallel.wire", OnResume::kFixed, "how gradients travel; bf16: rounded, what that takes comes later",
        Choice<S, &P::wire>({"fp32", "bf16"})},
       {"parallel.overlap", OnResume::kFree,
        "gradients travel while backward goes on (tree); auto: where ranks are on several hosts, or each has a core "
        "more "
        "than run.threads",
        Choice<S, &P::overlap>({"auto", "on", "off"})},
       {"parallel.bigram_share", OnResume::kFixed,
        "share of the bigram table's gradient that travels in a step, the largest, the rest later (tree over bf16)",
        Real<S, &P::bigram_share>(0, 1, Bounds::kOpenLow)},
       {"parallel.topk_share", OnResume::kFixed, "share of all entries that travel in a step (top-k and balanced)",
        Real<S, &P::topk_share>(0, 1, Bounds::kOpenLow)}});
}

void AddWatchingKeys(std::vector<Key>& keys) {
  constexpr auto E = &Settings::eval;
  constexpr auto P = &Settings::sample;
  constexpr auto C = &Settings::checkpoint;
  using Sample = SampleSettings;
  keys.insert(
      keys.end(),
      {{"eval.every", OnResume::kFree, "steps between validation losses; 0: never",
        Int<E, &EvalSettings::every>(0, kMany)},
       {"eval.sequences", OnResume::kFree, "of the validation part, each time",
        Int<E, &EvalSettings::sequences>(1, kMany)},
       {"sample.every", OnResume::kFree, "steps between samples; 0: never", Int<P, &Sample::every>(0, kMany)},
       {"sample.tokens", OnResume::kFree, "length of a sample", Int<P, &Sample::tokens>(1, 1'000'000)},
       {"sample.temperature", OnResume::kFree, "0: the most likely token", Real<P, &Sample::temperature>(0, 100)},
       {"sample.top_p", OnResume::kFree, "share of the probability that is drawn from",
        Real<P, &Sample::top_p>(0, 1, Bounds::kOpenLow)},
       {"sample.prompt", OnResume::kFree, "what a sample starts with", Text<P, &Sample::prompt>()},
       {"checkpoint.every", OnResume::kFree, "steps; 0: only at the end and on request",
        Int<C, &CheckpointSettings::every>(0, kMany)},
       {"checkpoint.keep", OnResume::kFree, "the newest this many stay",
        Int<C, &CheckpointSettings::keep>(1, 100'000)}});
}

void AddTelemetryKeys(std::vector<Key>& keys) {
  constexpr auto S = &Settings::telemetry;
  using T = TelemetrySettings;
  keys.insert(keys.end(),
              {{"telemetry.listen", OnResume::kFree,
                "HOST:PORT where Prometheus finds the metrics; ranks of one host take PORT, PORT + 1, ...; empty: none",
                Line<S, &T::listen>()},
               {"telemetry.open", OnResume::kFree, "whether telemetry.listen may be what other machines can reach",
                Bool<S, &T::open>()},
               {"telemetry.job", OnResume::kFree,
                "the coordinator's id of this run, which then shows what belongs to all ranks; empty: a run alone",
                Line<S, &T::job>()},
               {"telemetry.serve", OnResume::kFree,
                "HOST:PORT on this machine where filigree jobs, watch, drain and cancel reach this run; empty: nowhere",
                Line<S, &T::serve>()}});
}

}  // namespace

const std::vector<std::string>& TopkPlaces() {
  static const std::vector<std::string> places = {"attn_in",  "attn_q", "attn_k",     "attn_v",
                                                  "attn_out", "mlp_in", "mlp_neuron", "mlp_out"};
  return places;
}

const std::vector<Key>& Keys() {
  static const std::vector<Key> keys = [] {
    std::vector<Key> all;
    AddRunKeys(all);
    AddModelKeys(all);
    AddSparsityKeys(all);
    AddOptimKeys(all);
    AddParallelKeys(all);
    AddWatchingKeys(all);
    AddTelemetryKeys(all);
    return all;
  }();
  return keys;
}

Settings DefaultSettings() {
  Settings settings;
  for (const Key& key : Keys()) {
    const auto* field = std::get_if<RealField>(&key.field);
    if (field != nullptr && field->may_be_auto) field->at.edit(settings) = 0;
  }
  return settings;
}

const Key* FindKey(std::string_view name) {
  for (const Key& key : Keys())
    if (key.name == name) return &key;
  return nullptr;
}

}  // namespace filigree::config
