#include "worker/model/network.h"

#include <algorithm>
#include <chrono>

#include "kernels/base/check.h"
#include "worker/model/activations.h"
#include "worker/model/backward.h"
#include "worker/model/forward.h"
#include "worker/model/head.h"
#include "worker/model/weight_gradients.h"
#include "worker/model/weights.h"

namespace filigree::model {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

struct Network::Impl {
  Impl(const ModelSpec& spec_in, const Registry& registry_in, kernels::ThreadPool& pool_in)
      : spec(spec_in),
        registry(registry_in),
        pool(pool_in),
        weights(spec_in, registry_in),
        weight_gradients(spec_in, registry_in, pool_in),
        guesses(pool_in.threads(), TopKGuesses(spec_in)) {}

  // Buffers for a number of sequences; layers == 2 for passes that keep nothing.
  struct Buffers {
    int sequences = 0, tiles_per_sequence = 0;
    std::vector<LayerActivations> layers;
    std::unique_ptr<HeadActivations> head;
    std::unique_ptr<BackwardBuffers> backward;
    std::unique_ptr<SmallGradients> small;
    std::unique_ptr<PartialGradients> partials;
    std::vector<BackwardScratch> scratch;  // one a thread
    size_t bytes() const;
  };

  SequenceSlot Slot(int sequence, int index, int positions) const;
  void Reserve(Buffers& buffers, int sequences, int positions, bool backward);
  void Forward(Buffers& buffers, const SequenceSlot& slot, int worker, bool keep, Tap* tap);
  void ForEachSequence(const Batch& batch, Tap* tap,
                       const std::function<void(const SequenceSlot&, HeadPass&, HeadActivations&)>& visit);
  double Backward(const Batch& batch, double loss_scale, Write write, Arena& gradient, Tap* tap,
                  GradientWitness* witness);
  void BeginPartials(int layer);

  const ModelSpec& spec;
  const Registry& registry;
  kernels::ThreadPool& pool;
  Weights weights;
  WeightGradients weight_gradients;
  std::vector<TopKGuesses> guesses;  // one a thread
  TokenTiles tokens;
  Buffers training, inference;
};

size_t Network::Impl::Buffers::bytes() const {
  size_t total = 0;
  for (const LayerActivations& layer : layers) total += layer.bytes();
  if (head != nullptr) total += head->bytes();
  if (backward != nullptr) total += backward->bytes();
  if (partials != nullptr) total += partials->bytes();
  return total;
}

SequenceSlot Network::Impl::Slot(int sequence, int index, int positions) const {
  SequenceSlot slot;
  slot.sequence = sequence;
  slot.positions = positions;
  slot.tiles = kernels::TilesOf(positions);
  slot.first_tile = index * slot.tiles;
  return slot;
}

void Network::Impl::Reserve(Buffers& buffers, int sequences, int positions, bool backward) {
  const int tiles = kernels::TilesOf(positions);
  CHECK(positions >= 1, "{} positions", positions);
  CHECK(spec.d_pos_emb == 0 || positions <= spec.n_ctx, "{} positions of {}", positions, spec.n_ctx);
  if (buffers.sequences >= sequences && buffers.tiles_per_sequence == tiles) return;
  buffers = Buffers();
  buffers.sequences = sequences;
  buffers.tiles_per_sequence = tiles;
  const int kept_layers = backward ? spec.n_layer : std::min(spec.n_layer, 2);
  for (int l = 0; l < kept_layers; ++l) buffers.layers.emplace_back(spec, sequences, tiles);
  buffers.head = std::make_unique<HeadActivations>(spec, sequences, tiles);
  if (!backward) return;
  buffers.backward = std::make_unique<BackwardBuffers>(spec, sequences, tiles);
  buffers.small = std::make_unique<SmallGradients>(registry, sequences);
  buffers.partials = std::make_unique<PartialGradients>(sequences);
  for (int i = 0; i < pool.threads(); ++i) buffers.scratch.emplace_back(spec, tiles);
}

// Embedding and all layers of one sequence; the residual after the last one lands in head.final_resid.
void Network::Impl::Forward(Buffers& buffers, const SequenceSlot& slot, int worker, bool keep, Tap* tap) {
  const HeadPass head{spec, weights, tokens};
  const ForwardPass pass{spec, weights, tap, guesses[worker]};
  const auto at = [&](int l) -> LayerActivations& { return buffers.layers[keep ? l : l % 2]; };
  TileBuffer& first = spec.n_layer > 0 ? at(0).resid_in : buffers.head->final_resid;
  head.Embed(slot, first);
  for (int l = 0; l < spec.n_layer; ++l) {
    pass.Layer(l, slot, at(l), l + 1 < spec.n_layer ? at(l + 1).resid_in : buffers.head->final_resid);
  }
  for (int i = 0; i < slot.tiles; ++i) {
    pass.Visit(Place::kFinalResid, spec.n_layer, slot, i, nullptr, buffers.head->final_resid.tile(slot.first_tile + i));
  }
}

// Forward passes that keep nothing, as many sequences at a time as there are threads.
void Network::Impl::ForEachSequence(
    const Batch& batch, Tap* tap, const std::function<void(const SequenceSlot&, HeadPass&, HeadActivations&)>& visit) {
  const int at_once = std::min(pool.threads(), batch.sequences);
  Reserve(inference, at_once, batch.positions, /*backward=*/false);
  for (int begin = 0; begin < batch.sequences; begin += at_once) {
    const int count = std::min(at_once, batch.sequences - begin);
    tokens.Set(batch.tokens + static_cast<size_t>(begin) * batch.positions, count, batch.positions);
    pool.Run(count, [&](int64_t i, int worker) {
      const int index = static_cast<int>(i);
      const SequenceSlot slot = Slot(begin + index, index, batch.positions);
      Forward(inference, slot, worker, /*keep=*/false, tap);
      HeadPass head{spec, weights, tokens};
      visit(slot, head, *inference.head);
    });
  }
}

// The matrices of a layer, or lm_head at the number of layers.
void Network::Impl::BeginPartials(int layer) {
  if (layer == spec.n_layer) return training.partials->Begin({{registry.lm_head(), weights.lm_head.candidates()}});
  const LayerTensors& t = registry.layer(layer);
  const LayerWeights& w = weights.layers[layer];
  training.partials->Begin({{t.c_attn, w.c_attn.candidates()},
                            {t.attn_c_proj, w.attn_c_proj.candidates()},
                            {t.c_fc, w.c_fc.candidates()},
                            {t.mlp_c_proj, w.mlp_c_proj.candidates()}});
}

double Network::Impl::Backward(const Batch& batch, double loss_scale, Write write, Arena& gradient, Tap* tap,
                               GradientWitness* witness) {
  const int sequences = batch.sequences;
  BackwardBuffers& buffers = *training.backward;
  std::vector<double> losses(sequences);
  training.small->Clear();
  if (spec.d_pos_emb > 0) {
    const kernels::Tile all = buffers.positions.tile(0);
    std::fill_n(all.data, all.size() * sequences * training.tiles_per_sequence, 0.0f);
  }
  const auto pass = [&](int worker) {
    return BackwardPass{spec, registry, weights, tap, training.scratch[worker], *training.small, *training.partials};
  };
  WeightGradients::Target target;
  target.sequences = sequences;
  target.tiles = sequences * training.tiles_per_sequence;
  target.write = write;
  target.gradient = &gradient;
  target.inputs_as_kept = tap == nullptr || !tap->intervenes();
  target.weights = &weights;
  target.partials = training.partials.get();
  target.witness = witness;

  BeginPartials(spec.n_layer);
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
  for (int l = spec.n_layer - 1; l >= 0; --l) {
    BeginPartials(l);
    pool.Run(sequences, [&](int64_t s, int worker) {
      const SequenceSlot slot = Slot(static_cast<int>(s), static_cast<int>(s), batch.positions);
      training.partials->Clear(slot.sequence);
      pass(worker).Layer(l, slot, training.layers[l], buffers);
    });
    weight_gradients.Layer(target, l, training.layers[l], buffers);
  }
  weight_gradients.Embeddings(target, buffers, tokens, batch.positions);
  weight_gradients.Small(target, *training.small);

  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

Network::Network(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool)
    : impl_(std::make_unique<Impl>(spec, registry, pool)) {}

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
                                PassTimes* times, GradientWitness* witness) {
  Impl& net = *impl_;
  const double start = Now();
  net.Reserve(net.training, batch.sequences, batch.positions, /*backward=*/true);
  net.tokens.Set(batch.tokens, batch.sequences, batch.positions);
  net.pool.Run(batch.sequences, [&](int64_t s, int worker) {
    const int sequence = static_cast<int>(s);
    const SequenceSlot slot = net.Slot(sequence, sequence, batch.positions);
    net.Forward(net.training, slot, worker, /*keep=*/true, tap);
  });
  const double middle = Now();
  const double loss = net.Backward(batch, loss_scale, write, gradient, tap, witness);
  if (times != nullptr) {
    times->forward += middle - start;
    times->backward += Now() - middle;
  }
  return loss;
}

double Network::Loss(const Batch& batch, Tap* tap, float* per_token) {
  std::vector<double> losses(batch.sequences);
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    float* out =
        per_token == nullptr ? nullptr : per_token + static_cast<size_t>(slot.sequence) * (batch.positions - 1);
    losses[slot.sequence] = head.Loss(slot, act, out);
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

void Network::Logits(const Batch& batch, float* logits, Tap* tap) {
  const size_t V = impl_->spec.vocab;
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    float* out = logits + static_cast<size_t>(slot.sequence) * batch.positions * V;
    for (int i = 0; i < slot.tiles; ++i) head.Logits(slot, i, act);
    const kernels::ConstTileSeries from = act.logits.from(slot.first_tile);
    for (int t = 0; t < batch.positions; ++t) {
      for (size_t c = 0; c < V; ++c) out[t * V + c] = from.at(static_cast<int>(c), t);
    }
  });
}

void Network::LastLogits(std::span<const int32_t> tokens, float* logits, Tap* tap) {
  const Batch batch{tokens.data(), 1, static_cast<int>(tokens.size())};
  impl_->ForEachSequence(batch, tap, [&](const SequenceSlot& slot, HeadPass& head, HeadActivations& act) {
    const int t = batch.positions - 1, tile = t / kernels::kTileTokens;
    head.Logits(slot, tile, act);
    const kernels::ConstTile from = act.logits.tile(slot.first_tile + tile);
    for (int c = 0; c < impl_->spec.vocab; ++c) logits[c] = from.at(c, t % kernels::kTileTokens);
  });
}

size_t Network::bytes() const { return impl_->weights.bytes() + impl_->training.bytes() + impl_->inference.bytes(); }

}  // namespace filigree::model
