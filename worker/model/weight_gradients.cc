#include "worker/model/weight_gradients.h"

#include <algorithm>

#include "kernels/adam/adam.h"
#include "kernels/bf16_tile/bf16_tile.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sparse_embedding.h"

namespace filigree::model {
namespace {

constexpr int kChannelsPerTask = 64;
constexpr int64_t kAddBlock = 1 << 16;

std::vector<kernels::ConstTile> Tiles(const TileBuffer& buffer, int tiles) {
  std::vector<kernels::ConstTile> all;
  all.reserve(tiles);
  for (int n = 0; n < tiles; ++n) all.push_back(buffer.tile(n));
  return all;
}

kernels::SddmmWrite Mode(Network::Write write) {
  return write == Network::Write::kAdd ? kernels::SddmmWrite::kAdd : kernels::SddmmWrite::kOverwrite;
}

}  // namespace

kernels::SddmmInput WeightGradients::Input(const Matrix& matrix, int tiles) {
  kernels::SddmmInput input;
  input.dy = matrix.dy->data();
  input.dy_stride = matrix.dy->stride();
  if (matrix.kept != nullptr) {
    input.kept = matrix.kept->tile(0);
    input.kept_stride = matrix.kept->stride();
  }
  if (matrix.x_bf16 != nullptr && !matrix.x_bf16->empty()) {
    input.x_bf16 = matrix.x_bf16->data();
    input.x_bf16_stride = matrix.x_bf16->stride();
  } else {
    input.x = matrix.x->data();
    input.x_stride = matrix.x->stride();
  }
  if (matrix.x_kept != nullptr) {
    input.x_kept = matrix.x_kept->tile(0);
    input.x_kept_stride = matrix.x_kept->stride();
  }
  input.tiles = tiles;
  input.out = matrix.linear->out();
  input.in = matrix.linear->in();
  return input;
}

WeightGradients::WeightGradients(const ModelSpec& spec, const Registry& registry, kernels::ThreadPool& pool)
    : spec_(spec), registry_(registry), pool_(pool), scratch_(pool.threads()) {}

// Of a small tensor: summed over sequences in order, the first one's place being scratch, then written or added.
template <typename At>
void WeightGradients::SumSequences(const Target& target, int tensor, At at) {
  const int64_t n = registry_[tensor].numel();
  float* total = at(0);
  for (int s = 1; s < target.sequences; ++s) kernels::AddInPlace(at(s), n, total);
  float* out = target.gradient->tensor(registry_[tensor]);
  if (target.write == Network::Write::kAdd) {
    kernels::AddInPlace(total, n, out);
  } else {
    std::copy_n(total, n, out);
  }
}

void WeightGradients::Head(const Target& target, const HeadActivations& act, const TokenTiles& tokens) {
  Matrices(target,
           {{&target.weights->lm_head, &act.logits, nullptr, &act.normed, nullptr, nullptr, registry_.lm_head(), -1}});
  if (registry_.bigram() < 0) return;
  std::vector<const int32_t*> rows;
  rows.reserve(target.tiles);
  for (int n = 0; n < target.tiles; ++n) rows.push_back(tokens.inputs(n));
  Scatter(target, registry_.bigram(), act.logits, rows);
}

void WeightGradients::Layer(const Target& target, int layer, const LayerActivations& act,
                            const BackwardBuffers& buffers) {
  const LayerTensors& t = registry_.layer(layer);
  const LayerWeights& w = target.weights->layers[layer];
  const auto x_kept = [&](const KeptBuffer& kept) { return target.inputs_as_kept ? &kept : nullptr; };
  const LayerValues& x = act.values;
  const Bf16Values& h = act.bf16;
  Matrices(target, {{&w.c_attn, &buffers.qkv, &act.kept_qkv, &x.act_in, &h.act_in, x_kept(act.kept_act_in), t.c_attn,
                     t.c_attn_bias},
                    {&w.attn_c_proj, &buffers.attn_out, &act.kept_attn_out, &x.attn_y, &h.attn_y, nullptr,
                     t.attn_c_proj, t.attn_c_proj_bias},
                    {&w.c_fc, &buffers.pre_act, &act.kept_neurons, &x.mlp_in, &h.mlp_in, x_kept(act.kept_mlp_in),
                     t.c_fc, t.c_fc_bias},
                    {&w.mlp_c_proj, &buffers.mlp_out, &act.kept_mlp_out, &x.neurons, &h.neurons,
                     x_kept(act.kept_neurons), t.mlp_c_proj, t.mlp_c_proj_bias}});
}

void WeightGradients::Embeddings(const Target& target, const BackwardBuffers& buffers, const TokenTiles& tokens,
                                 int positions) {
  std::vector<const int32_t*> rows;
  rows.reserve(target.tiles);
  for (int n = 0; n < target.tiles; ++n) rows.push_back(tokens.inputs(n));
  Table(target, registry_.wte(), buffers.resid, rows);
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
    if (small.holds(i)) SumSequences(target, i, [&](int s) { return small.at(s, i); });
  }
}

// All matrices at once, so that threads share them evenly.
void WeightGradients::Matrices(const Target& target, const std::vector<Matrix>& matrices) {
  struct Task {
    const Matrix* matrix;
    kernels::SddmmInput input;
    kernels::SddmmPart part;
  };
  std::vector<Task> tasks;
  for (const Matrix& matrix : matrices) {
    if (target.witness != nullptr) Witness(target, matrix);
    if (matrix.bias >= 0) {
      SumSequences(target, matrix.bias, [&](int s) { return target.partials->at(s, matrix.bias); });
    }
    if (matrix.linear->on_candidates()) {
      SumPartials(target, matrix);
      continue;
    }
    const kernels::SddmmInput input = Input(matrix, target.tiles);
    for (const kernels::SddmmPart& part : kernels::SddmmParts(input.out, input.in, pool_.threads())) {
      tasks.push_back({&matrix, input, part});
    }
  }
  pool_.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& task = tasks[i];
    kernels::DenseWeightGradient(task.input, task.part, Mode(target.write),
                                 target.gradient->tensor(registry_[task.matrix->weight]), scratch_[worker]);
  });
}

// What is kept as bf16 is widened for the witness, all tiles of one matrix: rare, as it comes before a refresh only.
void WeightGradients::Witness(const Target& target, const Matrix& matrix) {
  TileBuffer wide;
  const TileBuffer* x = matrix.x;
  if (matrix.x_bf16 != nullptr && !matrix.x_bf16->empty()) {
    wide = TileBuffer(target.tiles, matrix.x_bf16->channels());
    pool_.Run(target.tiles, [&](int64_t n, int) {
      kernels::WidenBf16(matrix.x_bf16->tile(static_cast<int>(n)), wide.tile(static_cast<int>(n)));
    });
    x = &wide;
  }
  target.witness->Matrix(registry_[matrix.weight], Tiles(*matrix.dy, target.tiles), Tiles(*x, target.tiles), pool_);
}

void WeightGradients::SumPartials(const Target& target, const Matrix& matrix) {
  const std::vector<const float*> partials = target.partials->all(matrix.weight, target.sequences);
  matrix.linear->sampled().SumPartials(partials, target.write == Network::Write::kAdd,
                                       target.gradient->tensor(registry_[matrix.weight]), pool_);
}

void WeightGradients::Table(const Target& target, int tensor, const TileBuffer& dx,
                            const std::vector<const int32_t*>& rows) {
  if (target.witness != nullptr) target.witness->Table(registry_[tensor], Tiles(dx, target.tiles), rows, pool_);
  if (target.gradient->layout().candidates(tensor) != nullptr) {
    SparseScatter(target, tensor, dx, rows);
  } else {
    Scatter(target, tensor, dx, rows);
  }
}

// As Scatter, for a table on candidates. Threads share its rows.
void WeightGradients::SparseScatter(const Target& target, int tensor, const TileBuffer& dx,
                                    const std::vector<const int32_t*>& rows) {
  const kernels::PatternView& table = *target.gradient->layout().candidates(tensor);
  const bool add = target.write == Network::Write::kAdd;
  const int64_t n = table.nnz();
  if (add && static_cast<int64_t>(table_.size()) < n) table_ = kernels::Buffer<float>(static_cast<size_t>(n));
  float* out = target.gradient->tensor(registry_[tensor]);
  float* sum = add ? table_.data() : out;
  const int parts = pool_.threads() == 1 ? 1 : 4 * pool_.threads();
  pool_.Run(parts, [&](int64_t part, int) {
    const int begin = static_cast<int>(table.rows * part / parts),
              end = static_cast<int>(table.rows * (part + 1) / parts);
    const uint32_t first = table.row_offsets[begin], last = table.row_offsets[end];
    std::fill(sum + first, sum + last, 0.0f);
    for (int i = 0; i < target.tiles; ++i) kernels::ScatterAddSparseRows(dx.tile(i), rows[i], begin, end, table, sum);
    if (add) kernels::AddInPlace(sum + first, last - first, out + first);
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
