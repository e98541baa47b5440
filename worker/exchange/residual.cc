#include "worker/exchange/residual.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/base/check.h"

namespace filigree::exchange {
Residual::Residual(std::shared_ptr<const model::Layout> layout, kernels::ThreadPool& pool)
    : pool_(pool), layout_(std::move(layout)), known_(*layout_), arena_(layout_) {}

void Residual::Follow() {
  std::vector<kernels::Buffer<uint32_t>> sources(layout_->size());
  model::Sources changed{std::vector<const uint32_t*>(layout_->size())};
  pool_.Run(layout_->size(), [&](int64_t t, int) {
    const auto tensor = static_cast<int>(t);
    if (layout_->version(tensor) == known_.version(tensor)) return;
    CHECK(layout_->candidates(tensor) != nullptr, "tensor {} is whole again", tensor);
    sources[t] = model::SourcesOf(known_.candidates(tensor), *layout_->candidates(tensor));
    changed.of[t] = sources[t].data();
  });
  if (std::any_of(changed.of.begin(), changed.of.end(), [](const uint32_t* of) { return of != nullptr; })) {
    model::Move(known_, changed, pool_, arena_);
    known_ = *layout_;
    model::ClearPadding(arena_);
  }
}

void Residual::Begin() {
  Follow();
  const std::span<float> now = values();
  if (before_.size() < now.size()) before_ = kernels::Buffer<float>(now.size());
  std::copy(now.begin(), now.end(), before_.data());
}

void Residual::Undo() {
  const std::span<float> now = values();
  std::copy_n(before_.data(), now.size(), now.data());
}

}  // namespace filigree::exchange
