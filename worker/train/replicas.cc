#include "worker/train/replicas.h"

#include <utility>

#include "worker/exchange/consensus.h"

namespace filigree::train {

namespace {

// A tensor of a state; its moments where `moments` says so.
exchange::DigestedTensor TensorOf(const TrainState& state, const model::TensorInfo& info, bool moments) {
  exchange::DigestedTensor tensor;
  tensor.info = &info;
  tensor.candidates = state.layout->candidates(info.index);
  tensor.weights = state.weights.tensor(info);
  if (moments) {
    tensor.first_moments = state.optimizer.m().tensor(info);
    tensor.second_moments = state.optimizer.v().tensor(info);
  }
  tensor.kept = state.masks.kept(info.index);
  return tensor;
}

std::vector<exchange::DigestedTensor> TensorsOf(const TrainState& state, std::span<const int> owners) {
  std::vector<exchange::DigestedTensor> tensors;
  tensors.reserve(state.registry.size());
  for (const model::TensorInfo& info : state.registry.tensors()) {
    tensors.push_back(TensorOf(state, info, owners.empty() || owners[info.index] < 0));
  }
  return tensors;
}

kernels::Digest& Of(exchange::TensorDigests& digests, exchange::Component c) { return digests.of[static_cast<int>(c)]; }

}  // namespace

std::vector<exchange::TensorDigests> DigestsOf(const TrainState& state, kernels::ThreadPool& pool,
                                               std::span<const int> owners) {
  return exchange::StateDigests(TensorsOf(state, owners), pool);
}

Replicas::Replicas(const TrainState& state, const Own& own, kernels::ThreadPool& pool, parallel::World& world)
    : state_(state), own_(own), pool_(pool), world_(world), written_(static_cast<size_t>(state.registry.size())) {}

absl::Status Replicas::Check() {
  const parallel::Progress::Waiting waiting(world_.progress());
  world_.all().Name("digests of the state");
  {
    const absl::MutexLock lock(&mutex_);
    written_.assign(written_.size(), {});
  }
  exchange::Claim claim;
  claim.epoch = state_.step;
  claim.left = left_;
  claim.found = SharedDigests(nullptr);
  claim.part = own_.ownership->rank();
  claim.part_left = owned_left_;
  claim.part_found = OwnedDigests(nullptr);
  claim.own_left = unsent_left_;
  claim.own_found = UnsentDigests();
  return exchange::Consensus(world_.all(), claim);
}

void Replicas::Written(int tensor, int64_t begin, int64_t size, bool weights) {
  exchange::DigestedTensor of = TensorOf(state_, state_.registry[tensor], true);
  of.kept = nullptr;  // chosen later
  if (!weights) of.weights = nullptr;
  exchange::TensorDigests digests;
  exchange::AddStored(of, begin, begin + size, digests);
  const absl::MutexLock lock(&mutex_);
  written_[tensor].digests += digests;
  written_[tensor].moments = true;
  written_[tensor].weights = weights;
}

void Replicas::Remember() {
  const absl::MutexLock lock(&mutex_);
  left_ = SharedDigests(&written_);
  owned_left_ = OwnedDigests(&written_);
  unsent_left_ = UnsentDigests();
}

// What was digested when it was written is not read again.
std::vector<exchange::TensorDigests> Replicas::DigestsOfAll(std::vector<exchange::DigestedTensor> tensors,
                                                            const std::vector<WrittenTensor>* written) const {
  using exchange::Component;
  std::vector<exchange::TensorDigests> known(tensors.size());
  for (size_t t = 0; written != nullptr && t < tensors.size(); ++t) {
    exchange::DigestedTensor& tensor = tensors[t];
    WrittenTensor of = (*written)[tensor.info->index];
    const auto take = [&](Component component, const float*& array) {
      if (array == nullptr) return;
      array = nullptr;
      Of(known[t], component) = Of(of.digests, component);
    };
    if (of.moments) take(Component::kFirstMoments, tensor.first_moments);
    if (of.moments) take(Component::kSecondMoments, tensor.second_moments);
    if (of.weights) take(Component::kWeights, tensor.weights);
  }
  std::vector<exchange::TensorDigests> digests = exchange::StateDigests(tensors, pool_);
  for (size_t t = 0; t < digests.size(); ++t) digests[t] += known[t];
  return digests;
}

std::vector<exchange::TensorDigests> Replicas::SharedDigests(const std::vector<WrittenTensor>* written) const {
  return DigestsOfAll(TensorsOf(state_, own_.ownership->owners()), written);
}

// Moments that this rank owns.
std::vector<exchange::TensorDigests> Replicas::OwnedDigests(const std::vector<WrittenTensor>* written) const {
  std::vector<exchange::DigestedTensor> tensors;
  for (const model::TensorInfo& info : state_.registry.tensors()) {
    if (own_.ownership->owner(info.index) < 0 || !own_.ownership->Updates(info.index)) continue;
    exchange::DigestedTensor tensor = TensorOf(state_, info, true);
    tensor.weights = nullptr;
    tensor.kept = nullptr;
    tensors.push_back(tensor);
  }
  return DigestsOfAll(std::move(tensors), written);
}

std::vector<exchange::TensorDigests> Replicas::UnsentDigests() const {
  if (own_.residual == nullptr) return {};
  std::vector<exchange::DigestedTensor> tensors;
  tensors.reserve(own_.registry->size());
  for (const model::TensorInfo& info : own_.registry->tensors()) {
    exchange::DigestedTensor tensor;
    tensor.info = &info;
    tensor.candidates = own_.residual->known().candidates(info.index);
    tensor.weights = own_.residual->tensor(info.index);
    tensors.push_back(tensor);
  }
  std::vector<exchange::TensorDigests> digests = exchange::StateDigests(tensors, pool_);
  for (exchange::TensorDigests& tensor : digests) tensor.name = "the unsent gradient of " + tensor.name;
  return digests;
}

}  // namespace filigree::train
