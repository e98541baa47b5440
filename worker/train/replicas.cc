#include "worker/train/replicas.h"

#include <utility>

#include "worker/exchange/consensus.h"

namespace filigree::train {

Replicas::Replicas(const TrainState& state, const Own& own, kernels::ThreadPool& pool, parallel::World& world)
    : state_(state), own_(own), pool_(pool), world_(world) {}

std::vector<exchange::TensorDigests> DigestsOf(const TrainState& state, kernels::ThreadPool& pool,
                                               const Ownership* ownership) {
  std::vector<exchange::DigestedTensor> tensors;
  tensors.reserve(state.registry.size());
  for (const model::TensorInfo& info : state.registry.tensors()) {
    exchange::DigestedTensor tensor;
    tensor.info = &info;
    tensor.candidates = state.layout->candidates(info.index);
    tensor.weights = state.weights.tensor(info);
    if (ownership == nullptr || ownership->owner(info.index) < 0) {
      tensor.first_moments = state.optimizer.m().tensor(info);
      tensor.second_moments = state.optimizer.v().tensor(info);
    }
    tensor.kept = state.masks.kept(info.index);
    tensors.push_back(tensor);
  }
  return exchange::StateDigests(tensors, pool);
}

std::vector<exchange::TensorDigests> Replicas::OwnDigests() const {
  std::vector<exchange::TensorDigests> digests = UnsentDigests();
  for (exchange::TensorDigests& of : OwnedMoments()) digests.push_back(std::move(of));
  return digests;
}

std::vector<exchange::TensorDigests> Replicas::OwnedMoments() const {
  std::vector<exchange::DigestedTensor> tensors;
  tensors.reserve(state_.registry.size());
  for (const model::TensorInfo& info : state_.registry.tensors()) {
    if (!Owned(info.index) || !own_.ownership->Updates(info.index)) continue;
    exchange::DigestedTensor tensor;
    tensor.info = &info;
    tensor.first_moments = state_.optimizer.m().tensor(info);
    tensor.second_moments = state_.optimizer.v().tensor(info);
    tensors.push_back(tensor);
  }
  return exchange::StateDigests(tensors, pool_);
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

absl::Status Replicas::Check() {
  const parallel::Progress::Waiting waiting(world_.progress());
  world_.all().Name("digests of the state");
  exchange::Claim claim;
  claim.epoch = state_.step;
  claim.left = left_;
  claim.found = Digests();
  claim.own_left = own_left_;
  claim.own_found = OwnDigests();
  return exchange::Consensus(world_.all(), claim);
}

void Replicas::Remember() {
  left_ = Digests();
  own_left_ = OwnDigests();
}

}  // namespace filigree::train
