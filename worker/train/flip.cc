#include "worker/train/flip.h"

#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "worker/train/fault.h"

namespace filigree::train {
namespace {

// The least bit of the middle value of a tensor that has a mask, where there is one.
const model::TensorInfo& Victim(const Ownership& ownership, const TrainState& state) {
  const auto& tensors = state.registry.tensors();
  const auto masked = std::find_if(tensors.begin(), tensors.end(), [&](const model::TensorInfo& info) {
    return state.masks.kept(info.index) != nullptr && ownership.Updates(info.index);
  });
  if (masked != tensors.end()) return *masked;
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const model::TensorInfo& info) { return ownership.Updates(info.index); });
}

void FlipLeastBit(float& value) { value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ 1u); }

int64_t Middle(const TrainState& state, const model::TensorInfo& info) { return state.layout->stored(info.index) / 2; }

}  // namespace

void FlipWeight(const Ownership& ownership, TrainState& state) {
  const model::TensorInfo& info = Victim(ownership, state);
  FlipLeastBit(state.weights.tensor(info)[Middle(state, info)]);
}

void FlipMoment(const Ownership& ownership, TrainState& state) {
  const model::TensorInfo& info = Victim(ownership, state);
  FlipLeastBit(state.optimizer.m().tensor(info)[Middle(state, info)]);
}

void FlipMask(const Ownership& ownership, TrainState& state) {
  const model::TensorInfo& info = Victim(ownership, state);
  const uint64_t* kept = state.masks.kept(info.index);
  CHECK(kept != nullptr, "no mask in this state");
  const int64_t stored = state.layout->stored(info.index), bit = Middle(state, info);
  std::vector<uint64_t> changed(kept, kept + (stored + 63) / 64);
  changed[bit / 64] ^= uint64_t{1} << (bit % 64);
  state.masks.Restore(info.index, changed.data(), stored, state.masks.threshold(info.index));
}

void FlipOnRequest(int64_t step, FlipTime time, const Ownership& ownership, TrainState& state) {
  static bool done = false;
  const auto flip = [&](const char* what, void (*change)(const Ownership&, TrainState&)) {
    if (done || !FaultAsked("flip", what, step)) return;
    done = true;
    change(ownership, state);
  };
  if (time == FlipTime::kInTheUpdate) return flip("update", FlipWeight);
  flip("weight", FlipWeight);
  flip("moment", FlipMoment);
  flip("mask", FlipMask);
}

}  // namespace filigree::train
