#include "worker/model/weight_gradients.h"

#include <algorithm>

#include "kernels/adam/adam.h"
#include "kernels/embedding/embedding.h"

namespace filigree::model {
namespace {

constexpr int kChannelsPerTask = 64;
constexpr int64_t kAddBlock = 1 << 16;

// kept, x_kept: null where dy, or x, may be nonzero anywhere.
kernels::SddmmInput Input(const TileBuffer& dy, const KeptBuffer* kept, const TileBuffer& x, const KeptBuffer* x_kept,
                          int tiles) {
  kernels::SddmmInput input;
  input.dy = dy.data();
  input.dy_stride = dy.stride();
  if (kept != nullptr) {
    input.kept = kept->tile(0);
    input.kept_stride = kept->stride();
  }
  input.x = x.data();
  input.x_stride = x.stride();
  if (x_kept != nullptr) {
    input.x_kept = x_kept->tile(0);
    input.x_kept_stride = x_kept->stride();
  }
  input.tiles = tiles;
  input.out = dy.channels();
  input.in = x.channels();
  return input;
}

kernels::SddmmWrite Mode(Network::Write write) {
  return write == Network::Write::kAdd ? kernels::SddmmWrite::kAdd : kernels::SddmmWrite::kOverwrite;
}

}  // namespace

WeightGradients::WeightGradients(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool)
    : spec_(spec), registry_(registry), pool_(pool), scratch_(pool.threads()) {}

void WeightGradients::Head(const Target& target, const HeadActivations& act, const TokenTiles& tokens) {
  Matrices(target, {{Input(act.logits, nullptr, act.normed, nullptr, target.tiles), registry_.lm_head(), -1}});
  if (registry_.bigram() < 0) return;
  std::vector<const int32_t*> rows;
  rows.reserve(target.tiles);
  for (int n = 0; n < target.tiles; ++n) rows.push_back(tokens.inputs(n));
  Scatter(target, registry_.bigram(), act.logits, rows);
}

void WeightGradients::Layer(const Target& target, int layer, const LayerActivations& act,
                            const BackwardBuffers& buffers) {
  const LayerTensors& t = registry_.layer(layer);
  const int tiles = target.tiles;
  const auto x_kept = [&](const KeptBuffer& kept) { return target.inputs_as_kept ? &kept : nullptr; };
  Matrices(
      target,
      {{Input(buffers.qkv, &act.kept_qkv, act.act_in, x_kept(act.kept_act_in), tiles), t.c_attn, t.c_attn_bias},
       {Input(buffers.attn_out, &act.kept_attn_out, act.attn_y, nullptr, tiles), t.attn_c_proj, t.attn_c_proj_bias},
       {Input(buffers.pre_act, &act.kept_neurons, act.mlp_in, x_kept(act.kept_mlp_in), tiles), t.c_fc, t.c_fc_bias},
       {Input(buffers.mlp_out, &act.kept_mlp_out, act.neurons, x_kept(act.kept_neurons), tiles), t.mlp_c_proj,
        t.mlp_c_proj_bias}});
}

void WeightGradients::Embeddings(const Target& target, const BackwardBuffers& buffers, const TokenTiles& tokens,
                                 int positions) {
  std::vector<const int32_t*> rows;
  rows.reserve(target.tiles);
  for (int n = 0; n < target.tiles; ++n) rows.push_back(tokens.inputs(n));
  Scatter(target, registry_.wte(), buffers.resid, rows);
  if (registry_.wpe() < 0) return;

  const int per_sequence = kernels::TilesOf(positions);
  std::vector<int32_t> places(static_cast<size_t>(per_sequence) * kernels::kTileTokens, -1);
  for (int i = 0; i < positions; ++i) places[i] = i;
  for (int n = 0; n < target.tiles; ++n) {
    rows[n] = places.data() + static_cast<size_t>(n % per_sequence) * kernels::kTileTokens;
  }
  Scatter(target, registry_.wpe(), buffers.positions, rows);
}

void WeightGradients::Small(const Target& target, SmallGradients& small) {
  for (int i = 0; i < registry_.size(); ++i) {
    if (!small.holds(i)) continue;
    const TensorInfo& info = registry_[i];
    float* total = small.at(0, i);
    for (int s = 1; s < target.sequences; ++s) kernels::AddInPlace(small.at(s, i), info.numel(), total);
    float* out = target.gradient->tensor(info);
    if (target.write == Network::Write::kAdd) {
      kernels::AddInPlace(total, info.numel(), out);
    } else {
      std::copy_n(total, info.numel(), out);
    }
  }
}

// All matrices at once, so that threads share them evenly.
void WeightGradients::Matrices(const Target& target, const std::vector<Matrix>& matrices) {
  struct Task {
    const Matrix* matrix;
    kernels::SddmmPart part;  // no rows: the bias
  };
  std::vector<Task> tasks;
  for (const Matrix& matrix : matrices) {
    for (const kernels::SddmmPart& part : kernels::SddmmParts(matrix.input.out, matrix.input.in, pool_.threads())) {
      tasks.push_back({&matrix, part});
    }
    if (matrix.bias >= 0) tasks.push_back({&matrix, {}});
  }
  pool_.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& task = tasks[i];
    if (task.part.row_end == 0) {
      kernels::BiasGradient(task.matrix->input, Mode(target.write),
                            target.gradient->tensor(registry_[task.matrix->bias]));
    } else {
      kernels::DenseWeightGradient(task.matrix->input, task.part, Mode(target.write),
                                   target.gradient->tensor(registry_[task.matrix->weight]), scratch_[worker]);
    }
  });
}

// table[row of token, c] = or += sum over tokens of dx[c, token]. Threads share channels, so that a row's sum is formed
// in the order of tokens.
void WeightGradients::Scatter(const Target& target, int tensor, const TileBuffer& dx,
                              const std::vector<const int32_t*>& rows) {
  const TensorInfo& info = registry_[tensor];
  const bool add = target.write == Network::Write::kAdd;
  if (add && static_cast<int64_t>(table_.size()) < info.numel()) table_ = kernels::Buffer<float>(info.numel());
  float* out = target.gradient->tensor(info);
  float* sum = add ? table_.data() : out;
  const int64_t blocks = (info.numel() + kAddBlock - 1) / kAddBlock;
  const auto in_blocks = [&](auto work) {
    pool_.Run(blocks, [&](int64_t b, int) { work(b * kAddBlock, std::min(kAddBlock, info.numel() - b * kAddBlock)); });
  };
  in_blocks([&](int64_t begin, int64_t count) { std::fill_n(sum + begin, count, 0.0f); });
  pool_.Run((dx.channels() + kChannelsPerTask - 1) / kChannelsPerTask, [&](int64_t task, int) {
    const int begin = static_cast<int>(task) * kChannelsPerTask;
    const int end = std::min(begin + kChannelsPerTask, dx.channels());
    for (int n = 0; n < target.tiles; ++n) kernels::ScatterAddRows(dx.tile(n), rows[n], begin, end, sum);
  });
  if (add) in_blocks([&](int64_t begin, int64_t count) { kernels::AddInPlace(sum + begin, count, out + begin); });
}

}  // namespace filigree::model
