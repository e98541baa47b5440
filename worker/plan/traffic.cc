#include "worker/plan/traffic.h"

#include <algorithm>

#include "worker/model/registry.h"
#include "worker/model/shared_traffic.h"
#include "worker/optim/blocks.h"
#include "worker/train/batch_gradient.h"
#include "worker/train/candidates.h"
#include "worker/train/evidence.h"
#include "worker/train/ownership.h"
#include "worker/train/rank_layout.h"

namespace filigree::plan {
namespace {

using comm::Traffic;

constexpr int64_t kFloat = sizeof(float), kDouble = sizeof(double);

// An all-to-all in which a rank gives send[r] to rank r and gets receive[r] from it.
Traffic TrafficOfAllToAll(const std::vector<int64_t>& send, const std::vector<int64_t>& receive, int rank) {
  Traffic traffic;
  for (int r = 0; r < static_cast<int>(send.size()); ++r) {
    if (r == rank) continue;
    traffic.sent_bytes += send[r];
    traffic.received_bytes += receive[r];
  }
  return traffic;
}

// An all-gather in which rank r of a group gives bytes[r].
Traffic TrafficOfGather(const std::vector<int64_t>& bytes, int rank) {
  return TrafficOfAllToAll(std::vector<int64_t>(bytes.size(), bytes[rank]), bytes, rank);
}

std::vector<int64_t> BytesOf(std::vector<int64_t> floats) {
  for (int64_t& of : floats) of *= kFloat;
  return floats;
}

// One rank's view of a step.
class Step {
 public:
  Step(const model::ModelSpec& spec, const config::Settings& settings, const parallel::Grid& grid, int rank, int64_t s)
      : spec_(spec),
        settings_(settings),
        grid_(grid),
        s_(s),
        shard_{grid.tensor_rank(rank), grid.tensor},
        data_rank_(grid.data_rank(rank)),
        owning_(train::OwningRanksOf(grid, rank)),
        whole_(spec),
        part_(spec, shard_),
        layout_(whole_, settings, part_) {}

  std::vector<TrafficPart> Parts() {
    if (grid_.size() == 1) return {};
    if (grid_.tensor > 1) AddActivations();
    if (grid_.data > 1) AddData();
    AddOwners();
    if (grid_.tensor > 1) AddGroup();
    parts_.push_back({"digests of the state", exchange::TrafficOfConsensus(grid_.size())});
    return std::move(parts_);
  }

 private:
  int64_t refresh_every() const {
    return settings_.sparsity.regime == config::Regime::kActive ? settings_.sparsity.refresh_every : 0;
  }

  void AddActivations() {
    const parallel::LeafRange leaves = parallel::LeavesOf(settings_.train.shards, data_rank_, grid_.data);
    Traffic traffic;
    for (int64_t leaf = leaves.begin; leaf < leaves.end; ++leaf) {
      const auto sequences = static_cast<int>(train::SequencesOf(settings_, leaf));
      const model::SharedTraffic pass = model::TrafficOfLossAndGradient(spec_, shard_, sequences, spec_.n_ctx);
      traffic += {pass.sent_bytes, pass.received_bytes, 0};
    }
    parts_.push_back({"activations", traffic});
  }

  void AddData() {
    const int64_t leaves = settings_.train.shards;
    const exchange::SumForecast sum =
        exchange::TrafficOfSum(train::SumOptionsOf(settings_, part_, grid_),
                               train::GradientShapeOf(layout_, part_, settings_, spec_.n_ctx), data_rank_, grid_.data);
    const bool own_way = sum.bigram.traffic.sent_bytes > 0;
    if (own_way) {
      parts_.push_back({"gradient of the bigram table", sum.bigram.traffic, 1, sum.bigram.accuracy});
    }
    parts_.push_back(
        {own_way ? "gradients of all other tensors" : "gradients", sum.others.traffic, 1, sum.others.accuracy});
    parts_.push_back({"losses", exchange::TrafficOfNumbers(leaves, data_rank_, grid_.data, 1)});
    AddEvidence("evidence for newcomers",
                exchange::TrafficOfNumbers(leaves, data_rank_, grid_.data, train::EvidenceNumbers(settings_, part_)));
    AddProposals();
  }

  void AddProposals() {
    if (settings_.sparsity.newcomers != config::Newcomers::kProposals || refresh_every() == 0) return;
    std::vector<exchange::ProposedMatrix> matrices;
    for (const model::TensorInfo& info : part_.tensors()) {
      if (info.index == part_.wte() || train::FirstCandidates(settings_, info) == 0) continue;
      matrices.push_back({info.numel(), train::NewcomersOf(settings_, info, s_)});
    }
    const exchange::Forecast agreed =
        exchange::TrafficOfProposals(matrices, settings_.train.shards, data_rank_, grid_.data);
    parts_.push_back({"newcomers that shards propose", agreed.traffic, refresh_every(), agreed.accuracy});
  }

  // Where matrices have owners: what these tell the others.
  void AddOwners() {
    const std::vector<int> owners = train::OwnersIn(settings_, whole_, grid_);
    if (owners.empty()) return;
    const std::vector<exchange::OwnedMatrix> matrices = train::OwnedMatrices(settings_, whole_, owners, s_);
    std::vector<int64_t> sums(owning_.size);
    const train::RankLayout layout(whole_, settings_, whole_);
    for (int tensor = 0; tensor < whole_.size(); ++tensor) {
      const int64_t blocks = (layout.stored(tensor) + optim::kBlockElements - 1) / optim::kBlockElements;
      sums[std::max(owners[tensor], 0)] += kDouble * blocks;
    }
    parts_.push_back({"sizes of the owners' gradients", TrafficOfGather(sums, owning_.rank)});
    if (const auto sharing = train::SharingMatrices(settings_, whole_, owners, s_); !sharing.empty()) {
      const exchange::Forecast threshold = exchange::TrafficOfSharedThreshold(sharing, owning_.rank, owning_.size);
      parts_.push_back({"threshold of all matrices", threshold.traffic, 1, threshold.accuracy});
    }
    const exchange::Forecast weights = exchange::TrafficOfWeights(matrices, owning_.rank, owning_.size);
    parts_.push_back({"weights of the owners", weights.traffic, 1, weights.accuracy});
    AddCandidates(owners);
  }

  void AddCandidates(const std::vector<int>& owners) {
    std::vector<exchange::ForecastSet> sets;
    for (const model::TensorInfo& info : whole_.tensors()) {
      if (train::FirstCandidates(settings_, info) == 0) continue;
      sets.push_back({owners[info.index], info.numel(), train::CandidatesAt(settings_, info, s_)});
    }
    if (refresh_every() == 0 || sets.empty()) return;
    const exchange::Forecast told = exchange::TrafficOfCandidateSets(sets, owning_.rank, owning_.size);
    parts_.push_back({"new candidates of the owners", told.traffic, refresh_every(), told.accuracy});
  }

  // Between the ranks that share the model: parts of the gradient, to owners and to all.
  void AddGroup() {
    const train::GroupGradient gradient =
        train::GroupGradientOf(spec_, settings_, shard_, train::OwnersIn(settings_, whole_, grid_));
    Traffic parts = TrafficOfAllToAll(BytesOf(gradient.to_owners), BytesOf(gradient.from), shard_.rank);
    parts += TrafficOfGather(BytesOf(gradient.for_all), shard_.rank);
    parts_.push_back({"gradients of the parts of the model", parts});
    const comm::Traffic losses = comm::TrafficOfAllReduce(2, kDouble, shard_.rank, grid_.tensor);
    parts_.push_back({"losses of the parts of the model", {losses.sent_bytes, losses.received_bytes}});
    std::vector<int64_t> evidence;
    for (int r = 0; r < grid_.tensor; ++r) {
      evidence.push_back(kDouble * train::EvidenceNumbers(settings_, model::Registry(spec_, {r, grid_.tensor})));
    }
    AddEvidence("evidence of the parts of the model", TrafficOfGather(evidence, shard_.rank));
  }

  void AddEvidence(const char* name, const Traffic& traffic) {
    if (refresh_every() > 0 && traffic.sent_bytes > 0) parts_.push_back({name, traffic, refresh_every()});
  }

  const model::ModelSpec& spec_;
  const config::Settings& settings_;
  const parallel::Grid& grid_;
  const int64_t s_;
  const model::Shard shard_;
  const int data_rank_;
  const train::OwningRanks owning_;
  const model::Registry whole_, part_;
  const train::RankLayout layout_;
  std::vector<TrafficPart> parts_;
};

}  // namespace

std::vector<TrafficPart> TrafficOfRank(const model::ModelSpec& spec, const config::Settings& settings,
                                       const parallel::Grid& grid, int rank, int64_t s) {
  return Step(spec, settings, grid, rank, s).Parts();
}

Traffic TrafficOfStep(const std::vector<TrafficPart>& parts, bool refresh) {
  Traffic sum;
  for (const TrafficPart& part : parts) {
    if (part.every == 1 || refresh) sum += part.traffic;
  }
  return sum;
}

int64_t DenseEquivalent(const model::ModelSpec& spec, const parallel::Grid& grid) {
  const auto ranks = static_cast<double>(grid.data);
  const auto dense = static_cast<double>(model::Registry(spec).trained_elements() * kFloat);
  return static_cast<int64_t>(2 * (ranks - 1) / ranks * dense);
}

}  // namespace filigree::plan
