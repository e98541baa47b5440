#include "worker/train/evidence.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "kernels/embedding/embedding.h"
#include "kernels/sddmm/sddmm.h"
#include "worker/comm/local.h"
#include "worker/exchange/proposals.h"
#include "worker/mask/newcomers.h"
#include "worker/mask/wedge.h"
#include "worker/model/channel_norms.h"
#include "worker/train/candidates.h"
#include "worker/train/shard_proposals.h"

namespace filigree::train {
namespace {

using kernels::ConstTile;
using model::TensorInfo;

// Norms are wanted of a sample of tokens only: the whole batch would be read from memory once more.
constexpr int kNormStride = 4;

class NoEvidence : public Evidence {
 public:
  model::GradientWitness* Begin(int64_t) override { return nullptr; }
  void BeginShard(int64_t) override {}
  void EndShard(int64_t) override {}
  void Finish() override {}
  absl::Status Exchange(exchange::NumberSum&, comm::Communicator&) override { return absl::OkStatus(); }
  absl::Status Gather(const ModelShard&, comm::Communicator&) override { return absl::OkStatus(); }
  EvidenceOf Of(const TensorInfo&, int64_t, kernels::ThreadPool&) const override { return {}; }
};

// Other places of the sequences in every shard and at every refresh, whatever their distance: steps times the golden
// ratio are spread evenly. Of the logical shard, not of who computes it.
uint64_t PhaseOf(int64_t step, int64_t shard) {
  return ((static_cast<uint64_t>(step) * 0x9E3779B97F4A7C15u) >> 32) + static_cast<uint64_t>(shard);
}

std::vector<float> Roots(const double* sums, size_t size) {
  std::vector<float> roots(size);
  for (size_t i = 0; i < size; ++i) roots[i] = static_cast<float>(std::sqrt(sums[i]));
  return roots;
}

bool HasChannels(const TensorInfo& info) {
  return info.density == model::Density::kWeight || info.density == model::Density::kEmbedding;
}

// Where numbers a row, then numbers a column, of each tensor that has channels stand, one tensor after another.
struct ChannelLayout {
  // tables_only: of those whose rows are tokens.
  explicit ChannelLayout(const model::Registry& registry, bool tables_only = false) {
    for (const TensorInfo& info : registry.tensors()) {
      offsets.push_back(size);
      const bool wanted = HasChannels(info) && (!tables_only || info.index == registry.wte());
      size += wanted ? static_cast<size_t>(info.rows + info.cols) : 0;
      has.push_back(wanted);
    }
  }
  std::vector<size_t> offsets;
  std::vector<bool> has;
  size_t size = 0;
};

// Squares of channels, shard by shard, and their sums along the tree of shards.
class NormEvidence : public Evidence {
 public:
  NormEvidence(const TrainState& state, const ModelShard* shard, bool tables_only = false)
      : registry_(shard == nullptr ? state.registry : shard->registry()),
        norms_(registry_, kNormStride),
        here_(registry_, tables_only),
        whole_(state.registry, tables_only) {}
  model::GradientWitness* Begin(int64_t s) override {
    step_ = s;
    stack_.clear();
    return &norms_;
  }
  void BeginShard(int64_t shard) override { norms_.Clear(PhaseOf(step_, shard)); }
  void EndShard(int64_t shard) override {
    Numbers leaf{{shard, 1}, std::vector<double>(here_.size)};
    for (const TensorInfo& info : registry_.tensors()) {
      if (!here_.has[info.index]) continue;
      double* out = leaf.values.data() + here_.offsets[info.index];
      out = std::copy(norms_.rows(info.index).begin(), norms_.rows(info.index).end(), out);
      std::copy(norms_.columns(info.index).begin(), norms_.columns(info.index).end(), out);
    }
    stack_.push_back(std::move(leaf));
    exchange::Collapse(stack_, /*all=*/false, Add);
  }
  void Finish() override { exchange::Collapse(stack_, /*all=*/true, Add); }
  absl::Status Exchange(exchange::NumberSum& ranks, comm::Communicator&) override {
    absl::StatusOr<std::vector<double>> sum = ranks.SumNumbers(stack_);
    if (!sum.ok()) return sum.status();
    stack_.clear();
    stack_.push_back({{}, *std::move(sum)});
    return absl::OkStatus();
  }
  absl::Status Gather(const ModelShard& shard, comm::Communicator& group) override {
    std::vector<bool> has_channels;
    has_channels.reserve(registry_.size());
    for (const TensorInfo& info : registry_.tensors()) has_channels.push_back(HasChannels(info));
    absl::StatusOr<std::vector<double>> whole = shard.GatherChannels(group, stack_.front().values, has_channels);
    if (!whole.ok()) return whole.status();
    stack_.front().values = *std::move(whole);
    return absl::OkStatus();
  }
  EvidenceOf Of(const TensorInfo& info, int64_t, kernels::ThreadPool&) const override {
    if (norms_.rows(info.index).empty() || !whole_.has[info.index]) return {};
    const double* sums = stack_.front().values.data() + whole_.offsets[info.index];
    return {Roots(sums, info.rows), Roots(sums + info.rows, info.cols), {}};
  }

 private:
  using Numbers = exchange::NumberSum::Numbers;
  static void Add(Numbers& below, const Numbers& top) {
    for (size_t i = 0; i < below.values.size(); ++i) below.values[i] += top.values[i];
  }

  const model::Registry& registry_;  // of the part of the model that is here
  model::ChannelNorms norms_;        // of the shard in progress
  const ChannelLayout here_, whole_;
  int64_t step_ = 0;
  std::vector<Numbers> stack_;  // subtrees of shards in order; one after Finish or Exchange
};

absl::Status OnlyAlone(const char* rule) {
  return absl::UnimplementedError(fmt::format(
      "sparsity.newcomers \"{}\" is for studies on one rank; take \"norms\" or \"random\", or start one process",
      rule));
}

// Votes for matrices; tables, whose gradient has one addend a token, go by norms.
class VoteEvidence : public Evidence, public model::GradientWitness {
 public:
  VoteEvidence(const config::Settings& settings, const TrainState& state)
      : settings_(settings), state_(state), norms_(state, nullptr, /*tables_only=*/true) {}

  model::GradientWitness* Begin(int64_t s) override {
    votes_.clear();
    tables_ = norms_.Begin(s);
    step_ = s;
    return this;
  }
  void BeginShard(int64_t shard) override { norms_.BeginShard(shard); }
  void EndShard(int64_t shard) override { norms_.EndShard(shard); }
  void Finish() override { norms_.Finish(); }
  absl::Status Exchange(exchange::NumberSum&, comm::Communicator&) override { return OnlyAlone("votes"); }
  absl::Status Gather(const ModelShard&, comm::Communicator&) override { return OnlyAlone("votes"); }
  void Matrix(const TensorInfo& info, std::span<const ConstTile> dy, std::span<const ConstTile> x,
              kernels::ThreadPool& pool) override {
    constexpr int64_t kMost = int64_t{1} << 21, kVotesPerCandidate = 4;
    auto& [votes, shards] =
        votes_.try_emplace(info.index, mask::WedgeVotes(static_cast<int>(info.rows), static_cast<int>(info.cols)), 0)
            .first->second;
    mask::WedgeBatch batch;
    batch.x = x;
    batch.dy = dy;
    batch.samples =
        std::min(kMost, kVotesPerCandidate * state_.layout->stored(info.index) / settings_.train.shards + 1);
    batch.seed = static_cast<uint64_t>(settings_.run.seed);
    batch.stream = kernels::StreamOf((info.name + "/votes").c_str());
    batch.step = step_ * settings_.train.shards + shards++;
    votes.Add(batch, pool);
  }
  void Table(const TensorInfo& info, std::span<const ConstTile> dx, std::span<const int32_t* const> tokens,
             kernels::ThreadPool& pool) override {
    tables_->Table(info, dx, tokens, pool);
  }
  EvidenceOf Of(const TensorInfo& info, int64_t candidates, kernels::ThreadPool& pool) const override {
    const auto found = votes_.find(info.index);
    if (found == votes_.end()) return norms_.Of(info, candidates, pool);
    return {{}, {}, found->second.first.Best(2 * candidates)};
  }

 private:
  const config::Settings& settings_;
  const TrainState& state_;
  NormEvidence norms_;                                         // of tables
  model::GradientWitness* tables_ = nullptr;                   // takes them
  std::map<int, std::pair<mask::WedgeVotes, int64_t>> votes_;  // by tensor, with the shards seen
  int64_t step_ = 0;
};

// What logical shards propose for matrices on candidates, agreed on by all ranks; a whole matrix needs no newcomers,
// and tables go by norms.
class ProposalEvidence : public Evidence, public model::GradientWitness {
 public:
  ProposalEvidence(const config::Settings& settings, const TrainState& state)
      : settings_(settings), state_(state), norms_(state, nullptr, /*tables_only=*/true) {}

  model::GradientWitness* Begin(int64_t s) override {
    step_ = s;
    proposed_.clear();
    agreed_.clear();
    tables_ = norms_.Begin(s);
    return this;
  }
  void BeginShard(int64_t shard) override {
    shard_ = shard;
    norms_.BeginShard(shard);
  }
  void EndShard(int64_t shard) override { norms_.EndShard(shard); }
  void Finish() override {
    norms_.Finish();
    comm::Communicator alone(std::move(comm::LocalTransports(1).front()), {});
    const absl::Status agreed = Agree(alone);
    CHECK(agreed.ok(), "{}", agreed.ToString());
  }
  absl::Status Exchange(exchange::NumberSum& ranks, comm::Communicator& data) override {
    if (absl::Status status = norms_.Exchange(ranks, data); !status.ok()) return status;
    return Agree(data);
  }
  absl::Status Gather(const ModelShard&, comm::Communicator&) override {
    return absl::UnimplementedError(
        "sparsity.newcomers \"proposals\" is for ranks that have the whole model; take \"norms\" or parallel.tensor 1");
  }
  void Matrix(const TensorInfo& info, std::span<const ConstTile> dy, std::span<const ConstTile> x,
              kernels::ThreadPool& pool) override {
    constexpr int64_t kMost = int64_t{1} << 21, kVotesPerNewcomer = 4;
    const kernels::PatternView* candidates = state_.layout->candidates(info.index);
    if (candidates == nullptr) return;
    ShardFactors factors;
    factors.dy = dy;
    factors.x = x;
    factors.candidates = *candidates;
    factors.samples =
        std::min(kMost, kVotesPerNewcomer * NewcomersOf(settings_, info, step_) / settings_.train.shards + 1);
    factors.seed = static_cast<uint64_t>(settings_.run.seed);
    factors.stream = kernels::StreamOf((info.name + "/proposals").c_str());
    factors.step = step_ * settings_.train.shards + shard_;
    proposed_[info.index].push_back(ProposeNewcomers(factors, pool));
  }
  void Table(const TensorInfo& info, std::span<const ConstTile> dx, std::span<const int32_t* const> tokens,
             kernels::ThreadPool& pool) override {
    tables_->Table(info, dx, tokens, pool);
  }
  EvidenceOf Of(const TensorInfo& info, int64_t candidates, kernels::ThreadPool& pool) const override {
    const auto found = agreed_.find(info.index);
    return found == agreed_.end() ? norms_.Of(info, candidates, pool) : EvidenceOf{{}, {}, found->second};
  }

 private:
  absl::Status Agree(comm::Communicator& ranks) {
    std::vector<exchange::Proposals> matrices;
    matrices.reserve(proposed_.size());
    for (const auto& [tensor, shards] : proposed_) {
      const TensorInfo& info = state_.registry[tensor];
      exchange::Proposals& matrix = matrices.emplace_back();
      matrix.bound = info.numel();
      matrix.wanted = NewcomersOf(settings_, info, step_);
      matrix.lists.reserve(shards.size());
      for (const ShardProposals& shard : shards) matrix.lists.push_back({shard.positions, shard.scores});
    }
    auto agreed = exchange::AgreeOnNewcomers(ranks, settings_.train.shards, matrices);
    if (!agreed.ok()) return agreed.status();
    auto positions = agreed->begin();
    for (const auto& [tensor, shards] : proposed_) agreed_[tensor] = std::move(*positions++);
    return absl::OkStatus();
  }

  const config::Settings& settings_;
  const TrainState& state_;
  NormEvidence norms_;                        // of tables
  model::GradientWitness* tables_ = nullptr;  // takes them
  int64_t step_ = 0, shard_ = 0;
  std::map<int, std::vector<ShardProposals>> proposed_;  // by tensor: of this rank's shards
  std::map<int, std::vector<uint32_t>> agreed_;
};

// The dense gradient of every matrix. Memory of the dense size: for studies.
class Oracle : public Evidence, public model::GradientWitness {
 public:
  model::GradientWitness* Begin(int64_t) override {
    for (auto& [tensor, gradient] : gradients_) std::fill(gradient.begin(), gradient.end(), 0.0f);
    return this;
  }
  void BeginShard(int64_t) override {}
  void EndShard(int64_t) override {}
  void Finish() override {}
  absl::Status Exchange(exchange::NumberSum&, comm::Communicator&) override { return OnlyAlone("gradient"); }
  absl::Status Gather(const ModelShard&, comm::Communicator&) override { return OnlyAlone("gradient"); }
  void Matrix(const TensorInfo& info, std::span<const ConstTile> dy, std::span<const ConstTile> x,
              kernels::ThreadPool& pool) override {
    scratch_.resize(pool.threads());
    float* gradient = GradientOf(info);
    for (size_t n = 0; n < dy.size(); ++n) {
      kernels::SddmmInput input;
      input.dy = dy[n].data;
      input.x = x[n].data;
      input.tiles = 1;
      input.out = dy[n].channels;
      input.in = x[n].channels;
      kernels::DenseWeightGradient(input, kernels::SddmmWrite::kAdd, gradient, pool, scratch_);
    }
  }
  void Table(const TensorInfo& info, std::span<const ConstTile> dx, std::span<const int32_t* const> tokens,
             kernels::ThreadPool&) override {
    float* gradient = GradientOf(info);
    for (size_t n = 0; n < dx.size(); ++n) {
      kernels::ScatterAddRows(dx[n], tokens[n], 0, dx[n].channels, gradient);
    }
  }
  EvidenceOf Of(const TensorInfo& info, int64_t candidates, kernels::ThreadPool& pool) const override {
    const auto found = gradients_.find(info.index);
    if (found == gradients_.end()) return {};
    return {{},
            {},
            mask::RankByMagnitude(found->second.data(), info.numel(), std::min(2 * candidates, info.numel()), pool)};
  }

 private:
  float* GradientOf(const TensorInfo& info) {
    kernels::Buffer<float>& gradient = gradients_[info.index];
    if (gradient.empty()) gradient = kernels::Buffer<float>(static_cast<size_t>(info.numel()));
    return gradient.data();
  }

  std::map<int, kernels::Buffer<float>> gradients_;
  std::vector<kernels::SddmmScratch> scratch_;
};

}  // namespace

std::unique_ptr<Evidence> Evidence::Make(const config::Settings& settings, const TrainState& state,
                                         const ModelShard* shard) {
  switch (settings.sparsity.newcomers) {
    case config::Newcomers::kNorms:
      return std::make_unique<NormEvidence>(state, shard);
    case config::Newcomers::kRandom:
      return std::make_unique<NoEvidence>();
    case config::Newcomers::kVotes:
      return std::make_unique<VoteEvidence>(settings, state);
    case config::Newcomers::kGradient:
      return std::make_unique<Oracle>();
    case config::Newcomers::kProposals:
      return std::make_unique<ProposalEvidence>(settings, state);
  }
  return nullptr;
}

int64_t EvidenceNumbers(const config::Settings& settings, const model::Registry& part) {
  const bool proposals = settings.sparsity.newcomers == config::Newcomers::kProposals;
  if (settings.sparsity.newcomers != config::Newcomers::kNorms && !proposals) return 0;  // none, or only alone
  return static_cast<int64_t>(ChannelLayout(part, proposals).size);
}

}  // namespace filigree::train
