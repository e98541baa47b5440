#include "worker/model/registry.h"

#include <cmath>

#include "fmt/format.h"
#include "kernels/base/check.h"

namespace filigree::model {
namespace {

using kernels::Unit;

constexpr double kInitStd = 0.02;
constexpr double kBigramEnd = 0.02;

TensorInfo Matrix(const std::string& kind, int64_t rows, int64_t cols, Density density, Unit unit, double std) {
  TensorInfo info;
  info.kind = kind;
  info.shape = {rows, cols};
  info.rows = rows;
  info.cols = cols;
  info.density = density;
  info.unit = unit;
  info.decays = true;
  info.init = Init::kNormal;
  info.init_scale = std;
  return info;
}

TensorInfo Vector(const std::string& kind, int64_t size, Density density, Init init) {
  TensorInfo info;
  info.kind = kind;
  info.shape = {size};
  info.cols = size;
  info.density = density;
  info.init = init;
  return info;
}

}  // namespace

TensorInfo TensorInfo::Whole() const {
  TensorInfo whole = *this;
  whole.shared = false;
  whole.rows = row_range.whole;
  whole.cols = col_range.whole;
  whole.row_range = {whole.rows};
  whole.col_range = {whole.cols};
  whole.shape = shape.size() == 1 ? std::vector<int64_t>{whole.cols} : std::vector<int64_t>{whole.rows, whole.cols};
  return whole;
}

Registry::Registry(const ModelSpec& spec, Shard shard) : shard_(shard) {
  const int64_t D = spec.d_model, V = spec.vocab, P = spec.d_pos_emb;
  wte_ = Add(Matrix("transformer.wte.weight", V, D, Density::kEmbedding, Unit::kNone, kInitStd));
  if (P > 0) wpe_ = Add(Matrix("transformer.wpe.weight", spec.n_ctx, P, Density::kDense, Unit::kNone, kInitStd));
  for (int l = 0; l < spec.n_layer; ++l) AddLayer(spec, l);
  ln_f_ = Add(Vector("transformer.ln_f.weight", D, Density::kDense, Init::kOne));
  lm_head_ = Add(Matrix("lm_head.weight", V, D, Density::kEmbedding, Unit::kNone, kInitStd));
  if (spec.bigram) {
    TensorInfo bigram = Matrix("bigram_table", V, V, Density::kDense, Unit::kNone, kBigramEnd);
    bigram.init = Init::kUniform;
    bigram.decays = false;
    bigram_ = Add(bigram);
  }
  if (shard.size > 1) Cut(spec);
  for (const TensorInfo& info : tensors_) trained_elements_ += info.numel();
}

// Leaves of every shared tensor what the rank's groups hold.
void Registry::Cut(const ModelSpec& spec) {
  CHECK(spec.tensor_groups % shard_.size == 0, "{} groups among {} ranks", spec.tensor_groups, shard_.size);
  const int first = spec.FirstGroup(shard_), end = spec.FirstGroup({shard_.rank + 1, shard_.size});
  struct Run {
    int64_t begin, size;
  };
  const auto run = [&](int n, int64_t each) {
    const int64_t begin = spec.GroupBegin(n, first);
    return Run{begin * each, (spec.GroupBegin(n, end) - begin) * each};
  };
  const auto rows = [&](int tensor, const Run& of, int stripes = 1) {
    TensorInfo& info = tensors_[tensor];
    info.shared = true;
    info.row_range = {info.rows, stripes, of.begin};
    info.rows = info.shape[0] = stripes * of.size;
  };
  const auto columns = [&](int tensor, const Run& of, int stripes = 1) {
    if (tensor < 0) return;
    TensorInfo& info = tensors_[tensor];
    info.shared = true;
    info.col_range = {info.cols, stripes, of.begin};
    info.cols = info.shape.back() = stripes * of.size;
  };
  const Run heads = run(spec.n_head, 1), channels = run(spec.n_head, spec.d_head), neurons = run(spec.d_mlp, 1),
            tokens = run(spec.vocab, 1);
  for (const LayerTensors& t : layers_) {
    rows(t.c_attn, channels, 3);
    columns(t.c_attn_bias, channels, 3);
    columns(t.sink, heads);
    columns(t.attn_c_proj, channels);
    rows(t.c_fc, neurons);
    columns(t.c_fc_bias, neurons);
    columns(t.mlp_c_proj, neurons);
  }
  rows(lm_head_, tokens);
  columns(bigram_, tokens);
}

void Registry::AddLayer(const ModelSpec& spec, int l) {
  const int64_t D = spec.d_model, F = spec.d_mlp, HK = spec.attention_width(), X = spec.input_width();
  const double projection_std = kInitStd / std::sqrt(2.0 * spec.n_layer);
  LayerTensors t;
  const auto add = [&](TensorInfo info) {
    info.layer = l;
    info.name = fmt::format("transformer.h.{}.{}", l, info.kind);
    return Add(std::move(info));
  };
  const auto gain = [&](const char* kind, int64_t size) {
    return add(Vector(kind, size, Density::kDense, Init::kOne));
  };
  const auto bias = [&](const char* kind, int64_t size) {
    return add(Vector(kind, size, Density::kBias, Init::kZero));
  };
  t.ln_1 = gain("ln_1.weight", D);
  if (spec.d_pos_emb > 0) t.ln_p1 = gain("ln_p1.weight", spec.d_pos_emb);
  t.c_attn = add(Matrix("attn.c_attn.weight", 3 * HK, X, Density::kWeight, Unit::kRow, kInitStd));
  t.c_attn_bias = bias("attn.c_attn.bias", 3 * HK);
  if (spec.sink) t.sink = add(Vector("attn.attn_imp.sink_logit", spec.n_head, Density::kDense, Init::kZero));
  t.attn_c_proj = add(Matrix("attn.c_proj.weight", D, HK, Density::kWeight, Unit::kColumn, projection_std));
  t.attn_c_proj_bias = bias("attn.c_proj.bias", D);
  t.ln_2 = gain("ln_2.weight", D);
  if (spec.d_pos_emb > 0) t.ln_p2 = gain("ln_p2.weight", spec.d_pos_emb);
  t.c_fc = add(Matrix("mlp.c_fc.weight", F, X, Density::kWeight, Unit::kRow, kInitStd));
  t.c_fc_bias = bias("mlp.c_fc.bias", F);
  t.mlp_c_proj = add(Matrix("mlp.c_proj.weight", D, F, Density::kWeight, Unit::kColumn, projection_std));
  t.mlp_c_proj_bias = bias("mlp.c_proj.bias", D);
  layers_.push_back(t);
}

int Registry::Add(TensorInfo info) {
  if (info.name.empty()) info.name = info.kind;
  info.index = size();
  info.row_range = {info.rows};
  info.col_range = {info.cols};
  tensors_.push_back(std::move(info));
  return size() - 1;
}

std::vector<int64_t> Registry::numels() const {
  std::vector<int64_t> numels;
  numels.reserve(tensors_.size());
  for (const TensorInfo& info : tensors_) numels.push_back(info.numel());
  return numels;
}

int Registry::Find(const std::string& name) const {
  for (int i = 0; i < size(); ++i) {
    if (tensors_[i].name == name) return i;
  }
  return -1;
}

}  // namespace filigree::model
