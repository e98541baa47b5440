#include "worker/model/network.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "kernels/base/check.h"
#include "worker/model/activations.h"
#include "worker/model/backward.h"
#include "worker/model/forward.h"
#include "worker/model/head.h"
#include "worker/model/pass_buffers.h"
#include "worker/model/sharded_pass.h"
#include "worker/model/weight_gradients.h"
#include "worker/model/weights.h"

namespace filigree::model {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Sum(const std::vector<double>& losses) {
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

struct Network::Impl {
  Impl(const ModelSpec& spec_in, const Registry& registry_in, kernels::ThreadPool& pool_in, TensorGroup* group_in)
      : whole(spec_in),
        spec(spec_in.Local(registry_in.shard())),
        registry(registry_in),
        pool(pool_in),
        group(group_in),
        weights(spec, spec_in, registry_in),
        weight_gradients(spec, registry_in, pool_in),
        guesses(pool_in.threads(), TopKGuesses(spec_in)) {
    if (group == nullptr || group->size() == 1) return;
    CHECK(group->rank() == registry.shard().rank && group->size() == registry.shard().size,
          "rank {} of {} with the weights of rank {} of {}", group->rank(), group->size(), registry.shard().rank,
          registry.shard().size);
    shared = std::make_unique<ShardedPass>(spec, whole, registry, weights, tokens, guesses, *group, pool);
  }

  SequenceSlot Slot(int sequence, int index, int positions) const;
  void Reserve(PassBuffers& buffers, int sequences, int positions, bool backward);
  void Forward(PassBuffers& buffers, const SequenceSlot& slot, int worker, Tap* tap);
  void ForEachSequence(const Batch& batch, Tap* tap,
                       const std::function<void(const SequenceSlot&, HeadPass&, HeadActivations&)>& visit);
  WeightGradients::Target Target(const Batch& batch, Write write, Arena& gradient, Tap* tap, GradientWitness* witness,
                                 const StageDone& stage_done);
  double Backward(const Batch& batch, double loss_scale, const WeightGradients::Target& target, Tap* tap);

  // With other ranks.
  ShardedPass::Call ShardedCall(PassBuffers& buffers, const int32_t* sequences, int count, int positions,
                                bool backward);
  double ShardedLossAndGradient(const Batch& batch, double loss_scale, Write write, Arena& gradient, PassTimes& times,
                                GradientWitness* witness, const StageDone& stage_done);
  void ForEachSharded(const Batch& batch,
                      const std::function<absl::Status(const ShardedPass::Call&, int first)>& visit);

  const ModelSpec& whole;
  const ModelSpec spec;  // the dimensions here
  const Registry& registry;
  kernels::ThreadPool& pool;
  TensorGroup* const group;  // null: alone
  Weights weights;
  WeightGradients weight_gradients;
  std::vector<TopKGuesses> guesses;  // one a thread
  TokenTiles tokens;
  PassBuffers training, inference;
  int most_at_once = std::numeric_limits<int>::max();  // sequences of `inference`
  std::unique_ptr<ShardedPass> shared;                 // null: alone
  absl::Status status;                                 // of the group
};

SequenceSlot Network::Impl::Slot(int sequence, int index, int positions) const {
  SequenceSlot slot;
  slot.sequence = sequence;
  slot.positions = positions;
  slot.tiles = kernels::TilesOf(positions);
  slot.first_tile = index * slot.tiles;
  return slot;
}

void Network::Impl::Reserve(PassBuffers& buffers, int sequences, int positions, bool backward) {
  const int tiles = kernels::TilesOf(positions);
  CHECK(positions >= 1, "{} positions", positions);
  CHECK(spec.d_pos_emb == 0 || positions <= spec.n_ctx, "{} positions of {}", positions, spec.n_ctx);
  if (buffers.sequences >= sequences && buffers.tiles_per_sequence == tiles) return;
  buffers = PassBuffers();
  const PassShape shape{sequences, tiles, {0, sequences * tiles}, backward, /*layer_by_layer=*/false};
  buffers = PassBuffers(spec, registry, shape, pool.threads());
}

// Embedding and all layers of one sequence; the residual after the last one lands in head.final_resid.
void Network::Impl::Forward(PassBuffers& buffers, const SequenceSlot& slot, int worker, Tap* tap) {
  const HeadPass head{spec, weights, tokens};
  const ForwardPass pass{spec, weights, tap, guesses[worker]};
  head.Embed(slot, buffers.resid(0, spec.n_layer));
  for (int l = 0; l < spec.n_layer; ++l) {
    pass.Layer(l, slot, buffers.layer(l), buffers.values(l, worker), buffers.resid(l + 1, spec.n_layer));
  }
  for (int i = 0; i < slot.tiles; ++i) {
    pass.Visit(Place::kFinalResid, spec.n_layer, slot, i, nullptr, buffers.head->final_resid.tile(slot.first_tile + i));
  }
}

// Forward passes that keep nothing.
void Network::Impl::ForEachSequence(
    const Batch& batch, Tap* tap, const std::function<void(const SequenceSlot&, HeadPass&, HeadActivations&)>& visit) {
  const int at_once = SequencesAtOnce(pool.threads(), batch.sequences, /*shared=*/false, most_at_once);
  Reserve(inference, at_once, batch.positions, /*backward=*/false);
  for (int begin = 0; begin < batch.sequences; begin += at_once) {
    const int count = std::min(at_once, batch.sequences - begin);
    tokens.Set(batch.tokens + static_cast<size_t>(begin) * batch.positions, count, batch.positions);
    pool.Run(count, [&](int64_t i, int worker) {
      const int index = static_cast<int>(i);
      const SequenceSlot slot = Slot(begin + index, index, batch.positions);
      Forward(inference, slot, worker, tap);
      HeadPass head{spec, weights, tokens};
      visit(slot, head, *inference.head);
    });
  }
}

WeightGradients::Target Network::Impl::Target(const Batch& batch, Write write, Arena& gradient, Tap* tap,
                                              GradientWitness* witness, const StageDone& stage_done) {
  WeightGradients::Target target;
  target.sequences = batch.sequences;
  target.tiles = batch.sequences * training.tiles_per_sequence;
  target.write = write;
  target.gradient = &gradient;
  target.inputs_as_kept = tap == nullptr || !tap->intervenes();
  target.weights = &weights;
  target.partials = training.partials.get();
  target.witness = witness;
  target.stage_done = &stage_done;
  return target;
}

double Network::Impl::Backward(const Batch& batch, double loss_scale, const WeightGradients::Target& target, Tap* tap) {
  const int sequences = batch.sequences;
  BackwardBuffers& buffers = *training.backward;
  std::vector<double> losses(sequences);
  training.ClearGradients();
  const auto pass = [&](int worker) {
    return BackwardPass{spec, registry, weights, tap, training.scratch[worker], *training.small, *training.partials};
  };
  training.BeginPartials(registry, weights, spec.n_layer);
  pool.Run(sequences, [&](int64_t s, int worker) {
    const SequenceSlot slot = Slot(static_cast<int>(s), static_cast<int>(s), batch.positions);
    const HeadPass head{spec, weights, tokens};
    training.partials->Clear(slot.sequence);
    losses[s] = head.LossAndGradient(slot, loss_scale, *training.head, training.scratch[worker], buffers.resid,
                                     training.small->at(slot.sequence, registry.ln_f()),
                                     training.partials->at(slot.sequence, registry.lm_head()));
    for (int i = 0; i < slot.tiles; ++i) {
      pass(worker).Visit(Place::kFinalResid, spec.n_layer, slot, i, nullptr, buffers.resid.tile(slot.first_tile + i));
    }
  });
  weight_gradients.Head(target, *training.head, tokens);
  target.Done(0);
  for (int l = spec.n_layer - 1; l >= 0; --l) {
    training.BeginPartials(registry, weights, l);
    pool.Run(sequences, [&](int64_t s, int worker) {
      const SequenceSlot slot = Slot(static_cast<int>(s), static_cast<int>(s), batch.positions);
      training.partials->Clear(slot.sequence);
      pass(worker).Layer(l, slot, training.layers[l], training.values(l, worker), buffers);
    });
    weight_gradients.Layer(target, l, training.layers[l], buffers);
    target.Done(spec.n_layer - l);
  }
  weight_gradients.Embeddings(target, buffers, tokens, batch.positions);
  weight_gradients.Small(target, *training.small);
  target.Done(spec.n_layer + 1);
  return Sum(losses);
}

ShardedPass::Call Network::Impl::ShardedCall(PassBuffers& buffers, const int32_t* sequences, int count, int positions,
                                             bool backward) {
  const int tiles = kernels::TilesOf(positions);
  CHECK(positions >= 1, "{} positions", positions);
  CHECK(spec.d_pos_emb == 0 || positions <= spec.n_ctx, "{} positions of {}", positions, spec.n_ctx);
  // Which tiles are this rank's own depends on how many there are.
  if (buffers.sequences != count || buffers.tiles_per_sequence != tiles) {
    buffers = PassBuffers();
    const PassShape shape{count, tiles, shared->Own(count * tiles), backward, /*layer_by_layer=*/true};
    buffers = PassBuffers(spec, registry, shape, pool.threads());
  }
  tokens.Set(sequences, count, positions);
  return {buffers, positions};
}

double Network::Impl::ShardedLossAndGradient(const Batch& batch, double loss_scale, Write write, Arena& gradient,
                                             PassTimes& times, GradientWitness* witness, const StageDone& stage_done) {
  const double start = Now(), exchanged = group->seconds();
  const ShardedPass::Call call = ShardedCall(training, batch.tokens, batch.sequences, batch.positions, true);
  status = shared->Forward(call);
  const double middle = Now(), exchanged_forward = group->seconds() - exchanged;
  std::vector<double> losses;
  if (status.ok()) {
    const WeightGradients::Target target = Target(batch, write, gradient, nullptr, witness, stage_done);
    status = shared->Backward(call, loss_scale, target, weight_gradients, losses);
  }
  const double exchanged_backward = group->seconds() - exchanged - exchanged_forward;
  times.forward += middle - start - exchanged_forward;
  times.backward += Now() - middle - exchanged_backward;
  times.exchange += exchanged_forward + exchanged_backward;
  return status.ok() ? Sum(losses) : kNan;
}

// Forward passes that keep nothing, some sequences at a time: as many on every rank, whatever threads it has.
void Network::Impl::ForEachSharded(const Batch& batch,
                                   const std::function<absl::Status(const ShardedPass::Call&, int first)>& visit) {
  const int at_once = SequencesAtOnce(pool.threads(), batch.sequences, /*shared=*/true, most_at_once);
  for (int begin = 0; begin < batch.sequences && status.ok(); begin += at_once) {
    const int count = std::min(at_once, batch.sequences - begin);
    const ShardedPass::Call call = ShardedCall(inference, batch.tokens + static_cast<size_t>(begin) * batch.positions,
                                               count, batch.positions, false);
    status = shared->Forward(call);
    if (status.ok()) status = visit(call, begin);
  }
}

int SequencesAtOnce(int threads, int sequences, bool shared, int most) {
  constexpr int kShared = 8;
  const int limit = std::max(1, std::min({shared ? kShared : threads, sequences, most}));
  const int rounds = (sequences + limit - 1) / limit;
  return rounds == 0 ? limit : (sequences + rounds - 1) / rounds;
}

Network::Network(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool, TensorGroup* group)
    : impl_(std::make_unique<Impl>(spec, registry, pool, group)) {}

Network::~Network() = default;

void Network::SetWeights(const Arena& weights, const std::function<const uint64_t*(int)>& kept,
                         const std::function<int64_t(int)>& nonzeros) {
  impl_->weights.Set(weights, kept, nonzeros, impl_->pool);
}

void Network::SetWeights(const Arena& weights) {
  SetWeights(
      weights, [](int) -> const uint64_t* { return nullptr; }, [](int) -> int64_t { return 0; });
}

double Network::LossAndGradient(const Batch& batch, double loss_scale, Write write, Arena& gradient, Tap* tap,
                                PassTimes* times, GradientWitness* witness, const StageDone& stage_done) {
  Impl& net = *impl_;
  if (net.shared != nullptr) {
    CHECK(tap == nullptr, "a tap on a model that ranks share");
    PassTimes passes;
    return net.status.ok() ? net.ShardedLossAndGradient(batch, loss_scale, write, gradient,
                                                        times == nullptr ? passes : *times, witness, stage_done)
                           : kNan;
  }
  const double start = Now();
  net.Reserve(net.training, batch.sequences, batch.positions, /*backward=*/true);
  net.tokens.Set(batch.tokens, batch.sequences, batch.positions);
  net.pool.Run(batch.sequences, [&](int64_t s, int worker) {
    const int sequence = static_cast<int>(s);
    const SequenceSlot slot = net.Slot(sequence, sequence, batch.positions);
    net.Forward(net.training, slot, worker, tap);
  });
  const double middle = Now();
  const double loss =
      net.Backward(batch, loss_scale, net.Target(batch, write, gradient, tap, witness, stage_done), tap);
  if (times != nullptr) {
    times->forward += middle - start;
    times->backward += Now() - middle;
  }
  return loss;
}

double Network::Loss(const Batch& batch, Tap* tap, float* per_token) {
  std::vector<double> losses(batch.sequences);
  const auto out_of = [&](int sequence) {
    return per_token == nullptr ? nullptr : per_token + static_cast<size_t>(sequence) * (batch.positions - 1);
  };
  if (impl_->shared != nullptr) {
    CHECK(tap == nullptr, "a tap on a model that ranks share");
    impl_->ForEachSharded(batch, [&](const ShardedPass::Call& call, int first) {
      std::vector<double> some;
      absl::Status status = impl_->shared->Loss(call, out_of(first), some);
      std::copy(some.begin(), some.end(), losses.begin() + first);
      return status;
    });
    return impl_->status.ok() ? Sum(losses) : kNan;
  }
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    losses[slot.sequence] = head.Loss(slot, act, out_of(slot.sequence));
  });
  return Sum(losses);
}

void Network::Logits(const Batch& batch, float* logits, Tap* tap) {
  const size_t V = impl_->whole.vocab;
  if (impl_->shared != nullptr) {
    CHECK(tap == nullptr, "a tap on a model that ranks share");
    impl_->ForEachSharded(batch, [&](const ShardedPass::Call& call, int first) {
      return impl_->shared->Logits(call, logits + static_cast<size_t>(first) * batch.positions * V);
    });
    return;
  }
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    float* out = logits + static_cast<size_t>(slot.sequence) * batch.positions * V;
    for (int n = slot.first_tile; n < slot.first_tile + slot.tiles; ++n) {
      head.Norm(n, act);
      head.Logits(n, act);
    }
    const kernels::ConstTileSeries from = act.logits.from(slot.first_tile);
    for (int t = 0; t < batch.positions; ++t) {
      for (size_t c = 0; c < V; ++c) out[t * V + c] = from.at(static_cast<int>(c), t);
    }
  });
}

void Network::LastLogits(std::span<const int32_t> tokens, float* logits, Tap* tap) {
  const Batch batch{tokens.data(), 1, static_cast<int>(tokens.size())};
  if (impl_->shared != nullptr) {
    const size_t V = impl_->whole.vocab;
    std::vector<float> all(tokens.size() * V);
    Logits(batch, all.data(), tap);
    std::copy(all.end() - static_cast<int64_t>(V), all.end(), logits);
    return;
  }
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    const int t = batch.positions - 1, tile = t / kernels::kTileTokens;
    head.Norm(slot.first_tile + tile, act);
    head.Logits(slot.first_tile + tile, act);
    const kernels::ConstTile from = act.logits.tile(slot.first_tile + tile);
    for (int c = 0; c < impl_->spec.vocab; ++c) logits[c] = from.at(c, t % kernels::kTileTokens);
  });
}

const absl::Status& Network::status() const { return impl_->status; }

void Network::LimitSequencesAtOnce(int most) { impl_->most_at_once = most; }

void Network::ReleaseInference() { impl_->inference = PassBuffers(); }

size_t Network::bytes() const {
  return impl_->weights.bytes() + impl_->training.bytes() + impl_->inference.bytes() + impl_->weight_gradients.bytes() +
         (impl_->shared == nullptr ? 0 : impl_->shared->bytes());
}

}  // namespace filigree::model
