#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "kernels/base/random.h"
#include "worker/bench/inputs.h"
#include "worker/bench/limits.h"
#include "worker/bench/ranks.h"
#include "worker/config/load.h"
#include "worker/exchange/batch_sum.h"
#include "worker/exchange/owners.h"
#include "worker/exchange/rounded_sum.h"
#include "worker/mask/density.h"
#include "worker/mask/mask_set.h"
#include "worker/model/spec.h"
#include "worker/train/candidates.h"
#include "worker/train/ownership.h"
#include "worker/train/state.h"

namespace filigree::bench {
namespace {

using exchange::SumOptions;
using exchange::WireValue;
using Method = SumOptions::Method;

constexpr int64_t kLinkBytes = int64_t{4} << 20;  // to each other rank

absl::StatusOr<config::Settings> MakeSettings(const ExchangeSizes& s) {
  for (const absl::Status& status :
       {CheckWhole("--d", s.d_model, 16, 16384), CheckWhole("--layers", s.layers, 1, 256),
        CheckWhole("--vocab", s.vocab, 2, 65536), CheckWhole("--ctx", s.context, 2, 16384),
        CheckWhole("--tokens", s.tokens, 1, 1 << 30), CheckShare("--density", s.density),
        CheckShare("--embedding-density", s.embedding_density), CheckShare("--bigram-share", s.bigram_share),
        CheckShare("--topk-share", s.topk_share)}) {
    if (!status.ok()) return status;
  }
  config::Settings settings;
  settings.model.d_model = s.d_model;
  settings.model.n_layer = s.layers;
  settings.model.n_ctx = s.context;
  settings.sparsity.regime = config::Regime::kActive;
  settings.sparsity.candidates = s.candidates;
  settings.sparsity.density = settings.sparsity.density_start = s.density;
  settings.sparsity.embedding_density = settings.sparsity.embedding_density_start = s.embedding_density;
  settings.sparsity.anneal_shape = config::AnnealShape::kConstant;
  settings.sparsity.min_alive = 1;
  config::Resolve(settings);
  if (absl::Status status = config::Validate(settings); !status.ok()) return status;
  return settings;
}

// One gradient of this rank, drawn once, and room to sum it in.
class Gradient {
 public:
  // Of the bigram table only rows of tokens that occur have values: drawn by Zipf's law, this rank's share of a step's.
  Gradient(const model::Registry& registry, std::shared_ptr<const model::Layout> layout, int64_t tokens, int rank,
           kernels::ThreadPool& pool)
      : arena_(std::move(layout)), drawn_(RandomNormals(arena_.size(), 100 + rank, pool)) {
    if (registry.bigram() < 0) return;
    const model::TensorInfo& table = registry[registry.bigram()];
    const kernels::CounterRng rng(1, 7000 + rank);
    std::set<int64_t> touched;
    for (int64_t t = 0; t < tokens; ++t) {
      touched.insert(static_cast<int64_t>(std::pow(static_cast<double>(table.rows), rng.Uniform(t))) - 1);
    }
    touched_ = std::ssize(touched);
    float* values = drawn_.data() + arena_.layout().offset(table.index);
    for (int64_t r = 0; r < table.rows; ++r) {
      if (touched.count(r) == 0) std::fill_n(values + r * table.cols, table.cols, 0.0f);
    }
  }

  absl::Status Fill() {
    std::memcpy(arena_.data(), drawn_.data(), floats() * sizeof(float));
    return absl::OkStatus();
  }
  model::Arena& arena() { return arena_; }
  size_t floats() const { return static_cast<size_t>(arena_.layout().floats()); }
  std::span<float> values(size_t n) { return {arena_.data(), n}; }
  int64_t touched_rows() const { return touched_; }

 private:
  model::Arena arena_;
  kernels::Buffer<float> drawn_;
  int64_t touched_ = 0;
};

// Values of the sparsified tensors: all entries, and those that exist.
std::pair<int64_t, int64_t> SparsifiedValues(const train::TrainState& state) {
  int64_t all = 0, stored = 0;
  for (const model::TensorInfo& info : state.registry.tensors()) {
    if (!train::MayHaveCandidates(info)) continue;
    all += info.numel();
    stored += state.layout->stored(info.index);
  }
  return {all, stored};
}

// The exact regime at its last density: one matrix an owner, whose surviving weights all get.
class OwnersBench {
 public:
  OwnersBench(const ExchangeSizes& sizes, const model::Registry& registry,
              const std::shared_ptr<const model::Layout>& layout, kernels::ThreadPool& pool, comm::Communicator& ranks)
      : registry_(registry),
        pool_(pool),
        densities_{sizes.density, sizes.embedding_density},
        weights_(layout),
        masks_(registry, /*min_alive=*/1, config::Biases::kDense),
        ownership_(exchange::OwnersOf(registry, ranks.size()), ranks, nullptr) {
    const kernels::Buffer<float> drawn = RandomNormals(weights_.size(), 3, pool);
    std::memcpy(weights_.data(), drawn.data(), static_cast<size_t>(weights_.size()) * sizeof(float));
    masks_.Update(densities_, /*decay=*/1, pool, weights_);
  }

  const std::vector<int>& owners() const { return ownership_.owners(); }
  absl::Status GatherWeights() { return ownership_.GatherWeights(densities_, registry_, pool_, weights_, masks_); }

 private:
  const model::Registry& registry_;
  kernels::ThreadPool& pool_;
  const mask::Densities densities_;
  model::Arena weights_;
  mask::MaskSet masks_;
  const train::Ownership ownership_;
};

class ExchangeBench {
 public:
  ExchangeBench(const ExchangeSizes& sizes, const train::TrainState& state, kernels::ThreadPool& pool,
                comm::Communicator& ranks)
      : ranks_(ranks),
        pool_(pool),
        state_(state),
        dense_layout_(std::make_shared<model::Layout>(state.registry.numels())),
        tokens_(std::max(1, sizes.tokens / ranks.size())),
        dense_(state.registry, dense_layout_, tokens_, ranks.rank(), pool),
        active_(state.registry, state.layout, tokens_, ranks.rank(), pool),
        owners_(sizes, state.registry, dense_layout_, pool, ranks) {
    const auto [all, stored] = SparsifiedValues(state);
    sparsified_all_ = all;
    sparsified_ = stored;
    const auto add = [&](const char* name, Gradient& gradient, SumOptions options) {
      options.bigram_share = sizes.bigram_share;
      options.topk_share = sizes.topk_share;
      AddSum(name, gradient, options);
    };
    add("dense_allreduce", dense_, {.method = Method::kDense});
    add("tree_fp32", active_, {});
    add("tree_bf16", active_, {.wire = WireValue::kBf16});
    add("exact_tree_fp32", dense_, {});
    add("exact_owners_fp32", dense_, {.owners = owners_.owners()});
    add("exact_owners_bf16", dense_, {.wire = WireValue::kBf16, .owners = owners_.owners()});
    add("topk_bf16_of_dense", dense_, {.method = Method::kTopK, .wire = WireValue::kBf16});
    add("balanced_bf16_of_dense", dense_, {.method = Method::kBalancedTopK, .wire = WireValue::kBf16});
    AddSparsified();
    AddLink();
  }

  const std::vector<RankCase>& cases() const { return cases_; }

  // What each variant says beside time and bytes.
  void Annotate(std::vector<RankResult>& results) const {
    const auto sent = [&](const std::string& variant) {
      const auto found =
          std::find_if(results.begin(), results.end(), [&](const RankResult& r) { return r.variant == variant; });
      return static_cast<double>(found->sent_bytes);
    };
    const double whole = sent("dense_allreduce"), matrices = sent("sparsified_dense_allreduce"), P = ranks_.size();
    for (RankResult& r : results) {
      if (r.variant.starts_with("link")) continue;
      const bool part = r.variant.starts_with("sparsified");
      r.more["fewer_than_dense"] = (part ? matrices : whole) / std::max<double>(1, static_cast<double>(r.sent_bytes));
      if (r.variant == "sparsified_bf16" && P > 1) {
        r.more["values"] = sparsified_;
        r.more["of_least"] =
            static_cast<double>(r.sent_bytes) / (2 * (P - 1) / P * 2 * static_cast<double>(sparsified_));
      }
      if (r.variant == "tree_fp32") r.more["touched_rows"] = active_.touched_rows();
    }
  }

 private:
  void AddSum(const char* name, Gradient& gradient, const SumOptions& options) {
    const std::shared_ptr<const model::Layout> layout = gradient.arena().shared_layout();
    auto sum = std::make_shared<exchange::BatchSum>(ranks_, ranks_.size(), options, state_.registry, layout, pool_);
    cases_.push_back({name, [&gradient] { return gradient.Fill(); },
                      [this, &gradient, sum, owned = !options.owners.empty()] {
                        const exchange::GradientTree::Node node{{ranks_.rank(), 1}, 0, &gradient.arena()};
                        const absl::Status summed = sum->Sum({node});
                        return summed.ok() && owned ? owners_.GatherWeights() : summed;
                      }});
  }

  void AddSparsified() {
    const auto n = static_cast<size_t>(sparsified_), all = static_cast<size_t>(sparsified_all_);
    held_ = std::make_unique<kernels::Buffer<float>>(n);
    cases_.push_back(
        {"sparsified_dense_allreduce", [this] { return dense_.Fill(); },
         [this, all] { return ranks_.AllReduce(comm::ArrayOf(dense_.values(all)), comm::ReduceOp::kSum); }});
    rounded_ = std::make_unique<exchange::RoundedSum>(ranks_, pool_);
    cases_.push_back({"sparsified_bf16", [this] { return active_.Fill(); },
                      [this, n] {
                        const exchange::RoundedSum::Values values{active_.values(n), held_->span()};
                        return rounded_->Sum({&values, 1});
                      }});
  }

  // What the machines between can do: the constants of docs/plan.md.
  void AddLink() {
    const int64_t P = ranks_.size();
    link_ = kernels::Buffer<float>(static_cast<size_t>(2 * P * kLinkBytes / 4));
    for (const auto& [name, bytes] :
         {std::pair<const char*, int64_t>{"link_latency", 4}, {"link_bandwidth", kLinkBytes}}) {
      cases_.push_back({name, {}, [this, P, count = bytes / 4] {
                          std::vector<int64_t> counts(P, count);
                          counts[ranks_.rank()] = 0;
                          const auto n = static_cast<size_t>((P - 1) * count);
                          return ranks_.AllToAll(comm::ArrayOf(std::span<const float>(link_.data(), n)), counts,
                                                 comm::ArrayOf(std::span<float>(link_.data() + n, n)), counts);
                        }});
    }
  }

  comm::Communicator& ranks_;
  kernels::ThreadPool& pool_;
  const train::TrainState& state_;
  const std::shared_ptr<const model::Layout> dense_layout_;
  const int64_t tokens_;
  Gradient dense_, active_;
  OwnersBench owners_;
  int64_t sparsified_all_ = 0, sparsified_ = 0;
  std::unique_ptr<kernels::Buffer<float>> held_;
  std::unique_ptr<exchange::RoundedSum> rounded_;
  kernels::Buffer<float> link_;
  std::vector<RankCase> cases_;
};

}  // namespace

absl::StatusOr<RankReport> RunExchange(const ExchangeSizes& sizes, const Common& common, comm::Communicator& ranks) {
  const absl::StatusOr<Common> checked = CheckCommon(common);
  if (!checked.ok()) return checked.status();
  const absl::StatusOr<config::Settings> settings = MakeSettings(sizes);
  if (!settings.ok()) return settings.status();
  const absl::StatusOr<model::ModelSpec> spec = model::MakeSpec(settings->model, sizes.vocab);
  if (!spec.ok()) return spec.status();
  // Dense gradient and its draw, weights, three residuals as they are and as they were, what was received of three
  // sums: on every rank of this machine.
  const double dense = static_cast<double>(model::Registry(*spec).trained_elements());
  const double bytes = 4 * 12 * dense + 2.0 * kLinkBytes * ranks.size();
  if (absl::Status status = CheckMemory(bytes * ranks.size()); !status.ok()) return status;
  Bench bench(checked->threads);
  const std::unique_ptr<train::TrainState> state = train::BeginActive(*spec, *settings, bench.pool);
  const ExchangeBench cases(sizes, *state, bench.pool, ranks);
  constexpr int kWarm = 3;  // thresholds of top-k settle
  absl::StatusOr<std::vector<RankResult>> results = MeasureRanks(ranks, cases.cases(), kWarm, checked->repeats);
  if (!results.ok()) return results.status();
  cases.Annotate(*results);
  RankReport report = ReportOf("exchange", ranks, bench.machine, checked->repeats, *std::move(results));
  report.sizes = {{"d_model", sizes.d_model},
                  {"layers", sizes.layers},
                  {"vocab", sizes.vocab},
                  {"density", sizes.density},
                  {"embedding_density", sizes.embedding_density},
                  {"candidates", sizes.candidates},
                  {"bigram_share", sizes.bigram_share},
                  {"topk_share", sizes.topk_share},
                  {"tokens", sizes.tokens},
                  {"parameters", state->registry.trained_elements()},
                  {"stored", state->layout->stored_elements()}};
  return report;
}

}  // namespace filigree::bench
