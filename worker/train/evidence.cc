#include "worker/train/evidence.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "kernels/base/buffer.h"
#include "kernels/base/random.h"
#include "kernels/embedding/embedding.h"
#include "kernels/sddmm/sddmm.h"
#include "worker/mask/newcomers.h"
#include "worker/mask/wedge.h"
#include "worker/model/channel_norms.h"

namespace filigree::train {
namespace {

using kernels::ConstTile;
using model::TensorInfo;

// Norms are wanted of a sample of tokens only: the whole batch would be read from memory once more.
constexpr int kNormStride = 4;

class NoEvidence : public Evidence {
 public:
  model::GradientWitness* Begin(int64_t) override { return nullptr; }
  EvidenceOf Of(const TensorInfo&, int64_t, kernels::ThreadPool&) const override { return {}; }
};

std::vector<float> Roots(const std::vector<double>& sums) {
  std::vector<float> roots(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) roots[i] = static_cast<float>(std::sqrt(sums[i]));
  return roots;
}

class NormEvidence : public Evidence {
 public:
  explicit NormEvidence(const TrainState& state) : norms_(state.registry, kNormStride) {}
  model::GradientWitness* Begin(int64_t) override {
    norms_.Clear();
    return &norms_;
  }
  EvidenceOf Of(const TensorInfo& info, int64_t, kernels::ThreadPool&) const override {
    return {Roots(norms_.rows(info.index)), Roots(norms_.columns(info.index)), {}};
  }

 private:
  model::ChannelNorms norms_;
};

// Votes for matrices; tables, whose gradient has one addend a token, go by norms.
class VoteEvidence : public Evidence, public model::GradientWitness {
 public:
  VoteEvidence(const config::Settings& settings, const TrainState& state)
      : settings_(settings), state_(state), norms_(state.registry, kNormStride) {}

  model::GradientWitness* Begin(int64_t s) override {
    votes_.clear();
    norms_.Clear();
    step_ = s;
    return this;
  }
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
    norms_.Table(info, dx, tokens, pool);
  }
  EvidenceOf Of(const TensorInfo& info, int64_t candidates, kernels::ThreadPool&) const override {
    const auto found = votes_.find(info.index);
    if (found == votes_.end()) return {Roots(norms_.rows(info.index)), Roots(norms_.columns(info.index)), {}};
    return {{}, {}, found->second.first.Best(2 * candidates)};
  }

 private:
  const config::Settings& settings_;
  const TrainState& state_;
  model::ChannelNorms norms_;
  std::map<int, std::pair<mask::WedgeVotes, int64_t>> votes_;  // by tensor, with the shards seen
  int64_t step_ = 0;
};

// The dense gradient of every matrix. Memory of the dense size: for studies.
class Oracle : public Evidence, public model::GradientWitness {
 public:
  model::GradientWitness* Begin(int64_t) override {
    for (auto& [tensor, gradient] : gradients_) std::fill(gradient.begin(), gradient.end(), 0.0f);
    return this;
  }
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

std::unique_ptr<Evidence> Evidence::Make(const config::Settings& settings, const TrainState& state) {
  switch (settings.sparsity.newcomers) {
    case config::Newcomers::kNorms:
      return std::make_unique<NormEvidence>(state);
    case config::Newcomers::kRandom:
      return std::make_unique<NoEvidence>();
    case config::Newcomers::kVotes:
      return std::make_unique<VoteEvidence>(settings, state);
    case config::Newcomers::kGradient:
      return std::make_unique<Oracle>();
  }
  return nullptr;
}

}  // namespace filigree::train
