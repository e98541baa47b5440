#include "worker/train/batch_gradient.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <span>

#include "worker/parallel/grid.h"
#include "worker/train/fault.h"
#include "worker/train/ownership.h"

namespace filigree::train {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A fault on request (fault.h), once a process.
void CutOnRequest(int64_t step, parallel::World* world) {
  static std::atomic<bool> cut = false;
  if (world == nullptr || world->grid().tensor == 1 || !FaultAsked("cut", "tensor", step) || cut.exchange(true)) return;
  world->tensor().Abort(absl::UnavailableError("connections were cut on request"));
}

}  // namespace

bool GoesBesideBackward(config::Overlap wanted, int hosts, bool spare_cores) {
  return wanted == config::Overlap::kOn || (wanted == config::Overlap::kAuto && (hosts > 1 || spare_cores));
}

exchange::SumOptions SumOptionsOf(const config::Settings& all, const model::Registry& registry,
                                  const parallel::Grid& grid, int64_t bucket_bytes) {
  const config::ParallelSettings& settings = all.parallel;
  using Method = exchange::SumOptions::Method;
  constexpr Method kMethods[] = {Method::kTree, Method::kDense, Method::kTopK, Method::kBalancedTopK};
  exchange::SumOptions options;
  options.method = kMethods[static_cast<int>(settings.exchange)];
  options.wire = settings.wire == config::Wire::kBf16 ? exchange::WireValue::kBf16 : exchange::WireValue::kFloat32;
  options.bigram_share = settings.bigram_share;
  options.topk_share = settings.topk_share;
  if (grid.tensor == 1) options.owners = OwnersIn(all, registry, grid);
  options.bucket_values = (bucket_bytes + 3) / 4;
  return options;
}

BatchGradient::BatchGradient(const config::Settings& settings, const TrainState& state, ModelShard* shard,
                             kernels::ThreadPool& pool, parallel::World* world, int64_t bucket_bytes)
    : settings_(settings),
      state_(state),
      shard_(shard),
      world_(world),
      tree_(shard == nullptr ? std::shared_ptr<const model::Layout>(state.layout) : shard->layout(), pool),
      stages_(model::GradientStages(shard == nullptr ? state.registry : shard->registry())) {
  if (world == nullptr || world->grid().data == 1) return;
  const model::Registry& registry = shard == nullptr ? state.registry : shard->registry();
  const bool beside = GoesBesideBackward(settings.parallel.overlap, world->hosts(), world->has_spare_cores());
  const exchange::SumOptions options = SumOptionsOf(settings, registry, world->grid(), beside ? bucket_bytes : 0);
  sum_ = std::make_unique<exchange::BatchSum>(world->data(), settings.train.shards, options, registry, tree_.layout(),
                                              pool);
  if (options.overlaps()) overlapped_ = std::make_unique<exchange::OverlappedSum>(*sum_);
}

absl::StatusOr<BatchGradient::Result> BatchGradient::Compute(const Batch& batch, model::Network& network,
                                                             Evidence* evidence) {
  CutOnRequest(state_.step, world_);
  model::PassTimes times;
  if (absl::Status computed = ComputeOwnShards(batch, network, evidence, times); !computed.ok()) {
    GiveUpExchange(computed);
    return computed;
  }
  Result result;
  result.forward_seconds = SlowedDown("forward", times.forward);
  result.backward_seconds = SlowedDown("backward", times.backward);
  const double start = Now();
  const absl::StatusOr<double> loss = SumOverData(evidence);
  if (!loss.ok()) return loss.status();
  if (absl::Status status = GatherOverTensor(evidence); !status.ok()) return status;
  const absl::StatusOr<double> agreed = WorstOverTensor(*loss);
  if (!agreed.ok()) return agreed.status();
  result.loss = *agreed / (static_cast<double>(batch.sequences) * (batch.positions - 1));
  if (world_ != nullptr) result.exchange_seconds = times.exchange + Now() - start;
  return result;
}

void BatchGradient::Undo() {
  if (sum_ != nullptr) sum_->Undo();
}

absl::Status BatchGradient::ComputeOwnShards(const Batch& batch, model::Network& network, Evidence* evidence,
                                             model::PassTimes& times) {
  const int64_t shards = settings_.train.shards;
  const parallel::LeafRange mine = world_ == nullptr
                                       ? parallel::LeafRange{0, shards}
                                       : parallel::LeavesOf(shards, world_->data_rank(), world_->grid().data);
  const double predicted = static_cast<double>(batch.sequences) * (batch.positions - 1);
  model::GradientWitness* witness = evidence == nullptr ? nullptr : evidence->Begin(state_.step);
  const model::Registry& registry = shard_ == nullptr ? state_.registry : shard_->registry();
  const model::TensorInfo& head = registry[registry.lm_head()];
  tree_.Begin(mine.begin);
  for (int64_t shard = mine.begin; shard < mine.end; ++shard) {
    const int begin = static_cast<int>(batch.sequences * shard / shards);
    const int end = static_cast<int>(batch.sequences * (shard + 1) / shards);
    const model::Network::Batch sequences{batch.tokens + static_cast<size_t>(begin) * batch.positions, end - begin,
                                          batch.positions};
    if (evidence != nullptr) evidence->BeginShard(shard);
    const exchange::GradientTree::Leaf leaf = tree_.NextLeaf();
    const bool first = shard == mine.begin, last = shard + 1 == mine.end;
    if (last) times.exchange += BeginExchange();
    const model::StageDone stage_done = [&](int stage) {
      if (first && stage == 0)
        CorruptGradient(state_.step, leaf.gradient->tensor(head), tree_.layout()->stored(head.index));
      if (last) SendStage(stage);
    };
    const double loss = network.LossAndGradient(sequences, 1 / predicted, leaf.write, *leaf.gradient, /*tap=*/nullptr,
                                                &times, witness, stage_done);
    tree_.Merge(first ? CorruptedLoss(state_.step, loss) : loss);
    if (evidence != nullptr) evidence->EndShard(shard);
    if (shard == mine.begin) FaultPoint("backward", state_.step);
    if (!network.status().ok()) return network.status();
    if (world_ == nullptr) continue;
    world_->progress().Tick();
    // A step may be long, and those who are left after a loss wait for this rank.
    if (absl::Status failure = world_->failure(); !failure.ok()) return failure;
  }
  return absl::OkStatus();
}

// Before the last leaf of this rank. Seconds that it took.
double BatchGradient::BeginExchange() {
  if (overlapped_ == nullptr) return 0;
  const double start = Now();
  overlapped_->Begin(tree_.NodesAfterLeaf());
  return Now() - start;
}

// What backward has ready of the last leaf is added to the other leaves', and goes.
void BatchGradient::SendStage(int stage) {
  if (overlapped_ == nullptr) return;
  if (stage == 0) FaultPoint("exchange", state_.step);
  if (stage + 2 == std::ssize(stages_)) FaultPoint("overlap", state_.step);
  tree_.MergeTensors(stages_[stage]);
  overlapped_->StageDone(stage);
}

absl::Status BatchGradient::FinishExchange() {
  if (overlapped_ != nullptr) return overlapped_->Finish();
  FaultPoint("exchange", state_.step);
  return sum_->Sum(tree_.nodes());
}

// What others wait for in it never comes.
void BatchGradient::GiveUpExchange(const absl::Status& why) {
  if (overlapped_ == nullptr) return;
  world_->data().Abort(why);
  overlapped_->GiveUp();
}

// The sum of losses; that of gradients stands in the tree.
absl::StatusOr<double> BatchGradient::SumOverData(Evidence* evidence) {
  if (sum_ == nullptr) {
    tree_.Finish();
    if (evidence != nullptr) evidence->Finish();
    return tree_.loss();
  }
  const parallel::Progress::Waiting waiting(world_->progress());
  if (absl::Status status = FinishExchange(); !status.ok()) return status;
  std::vector<exchange::NumberSum::Numbers> losses;
  for (const exchange::GradientTree::Node& node : tree_.nodes()) losses.push_back({node.subtree, {node.loss}});
  world_->data().Name("losses");
  const absl::StatusOr<std::vector<double>> loss = sum_->numbers().SumNumbers(losses);
  if (!loss.ok()) return loss.status();
  if (evidence != nullptr) {
    world_->data().Name("evidence for newcomers");
    if (absl::Status status = evidence->Exchange(sum_->numbers(), world_->data()); !status.ok()) return status;
  }
  return loss->front();
}

// All ranks of a model have the same loss, unless one has computed wrongly: then none of them may take the step.
absl::StatusOr<double> BatchGradient::WorstOverTensor(double loss) {
  if (shard_ == nullptr) return loss;
  const parallel::Progress::Waiting waiting(world_->progress());
  world_->tensor().Name("losses of the other parts of the model");
  constexpr double kLeast = -std::numeric_limits<double>::infinity();
  const bool number = !std::isnan(loss);
  double worst[] = {number ? loss : kLeast, number ? 0.0 : 1.0};  // the largest, and whether any is no number
  absl::Status status = world_->tensor().AllReduce(comm::ArrayOf(std::span<double>(worst)), comm::ReduceOp::kMax);
  if (!status.ok()) return status;
  return worst[1] > 0 ? std::numeric_limits<double>::quiet_NaN() : worst[0];
}

absl::Status BatchGradient::GatherOverTensor(Evidence* evidence) {
  if (shard_ == nullptr) return absl::OkStatus();
  const parallel::Progress::Waiting waiting(world_->progress());
  world_->tensor().Name("gradients of the other parts of the model");
  absl::Status status = shard_->GatherGradient(world_->tensor(), tree_.gradient());
  if (status.ok() && evidence != nullptr) {
    world_->tensor().Name("evidence for newcomers");
    status = evidence->Gather(*shard_, world_->tensor());
  }
  return status;
}

}  // namespace filigree::train
