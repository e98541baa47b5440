#include "worker/train/evaluate.h"

#include <algorithm>
#include <vector>

#include "kernels/base/check.h"
#include "worker/data/loader.h"

namespace filigree::train {

namespace {

class Chunks {
 public:
  Chunks(const data::TokenStream& stream, int n_ctx, int64_t sequences) : stream_(stream), n_ctx_(n_ctx) {
    const int64_t all = stream.size() / n_ctx;
    CHECK(all > 0, "{} tokens, n_ctx {}", stream.size(), n_ctx);
    begins_ = data::ValidationSequences(stream, n_ctx, sequences == 0 ? all : sequences);
    tokens_.resize(static_cast<size_t>(kEvaluatedTogether) * n_ctx);
  }

  int64_t count() const { return (windows() + kEvaluatedTogether - 1) / kEvaluatedTogether; }
  int64_t predicted(int64_t chunk) const { return Windows(chunk) * (n_ctx_ - 1); }
  double Loss(model::Network& network, int64_t chunk) {
    const auto windows = static_cast<int>(Windows(chunk));
    for (int i = 0; i < windows; ++i) {
      stream_.Copy(begins_[chunk * kEvaluatedTogether + i], n_ctx_, tokens_.data() + static_cast<size_t>(i) * n_ctx_);
    }
    return network.Loss({tokens_.data(), windows, n_ctx_});
  }

 private:
  int64_t windows() const { return static_cast<int64_t>(begins_.size()); }
  int64_t Windows(int64_t chunk) const { return std::min(kEvaluatedTogether, windows() - chunk * kEvaluatedTogether); }

  const data::TokenStream& stream_;
  int n_ctx_;
  std::vector<int64_t> begins_;
  std::vector<int32_t> tokens_;
};

}  // namespace

Evaluation Evaluate(model::Network& network, const data::TokenStream& stream, int n_ctx, int64_t sequences,
                    const std::function<bool()>& go_on) {
  return *Evaluate(network, stream, n_ctx, sequences, go_on, nullptr);  // fails for lost ranks only
}

absl::StatusOr<Evaluation> Evaluate(model::Network& network, const data::TokenStream& stream, int n_ctx,
                                    int64_t sequences, const std::function<bool()>& go_on, parallel::World* world) {
  Chunks chunks(stream, n_ctx, sequences);
  const int64_t ranks = world == nullptr ? 1 : world->grid().data, rank = world == nullptr ? 0 : world->data_rank();
  std::vector<double> losses(chunks.count());
  Evaluation result;
  int64_t done = 0;
  for (; done < chunks.count(); done += ranks) {
    result.whole = done == 0 || !go_on || go_on();
    if (!result.whole) break;
    if (done + rank < chunks.count()) losses[done + rank] = chunks.Loss(network, done + rank);
    if (absl::Status status = network.status(); !status.ok()) return status;  // losses are NaN from here on
    if (world != nullptr) world->progress().Tick();
  }
  if (ranks > 1) {  // all but one of the addends of each loss are 0
    const parallel::Progress::Waiting waiting(world->progress());
    world->data().Name("losses of an evaluation");
    absl::Status status = world->data().AllReduce(comm::ArrayOf(std::span<double>(losses)), comm::ReduceOp::kSum);
    if (!status.ok()) return status;
  }
  double sum = 0;
  for (int64_t chunk = 0; chunk < std::min(done, chunks.count()); ++chunk) {
    sum += losses[chunk];
    result.tokens += chunks.predicted(chunk);
  }
  result.loss = sum / static_cast<double>(result.tokens);
  return result;
}

}  // namespace filigree::train
