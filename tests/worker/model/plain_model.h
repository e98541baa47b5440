#ifndef FILIGREE_TESTS_WORKER_MODEL_PLAIN_MODEL_H_
#define FILIGREE_TESTS_WORKER_MODEL_PLAIN_MODEL_H_

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "worker/model/arena.h"
#include "worker/model/spec.h"

// The model of the specification in plain loops and double, forward only: what the network is compared with, by value
// and by finite differences.

namespace filigree::model {

class PlainModel {
 public:
  using Rows = std::vector<std::vector<double>>;  // [position][channel]
  // Called after AbsTopK at every place; may change the values.
  using Hook = std::function<void(Place place, int layer, int sequence, Rows& values)>;

  PlainModel(const ModelSpec& spec, const Registry& registry, const Arena& weights) : spec_(spec), registry_(registry) {
    for (const TensorInfo& info : registry.tensors()) {
      const float* w = weights.tensor(info);
      tensors_.emplace_back(w, w + info.numel());
    }
  }

  std::vector<double>& tensor(int i) { return tensors_[i]; }
  void SetHook(Hook hook) { hook_ = std::move(hook); }

  // After the next call of Loss, AbsTopK keeps what it kept then, and ReLU passes what it passed: differences of the
  // loss see no selection flip.
  void FreezeSelections() {
    mode_ = Mode::kRecord;
    selections_.clear();
  }

  // Sum over sequences and predicted positions.
  double Loss(std::span<const int32_t> tokens, int sequences, int positions) {
    next_ = 0;
    double sum = 0;
    for (int s = 0; s < sequences; ++s) sum += Sequence(tokens.subspan(s * positions, positions), s, nullptr);
    if (mode_ == Mode::kRecord) mode_ = Mode::kReplay;
    return sum;
  }

  // [position][V] of one sequence.
  Rows Logits(std::span<const int32_t> tokens, int sequence = 0) {
    next_ = 0;
    Rows logits;
    Sequence(tokens, sequence, &logits);
    return logits;
  }

 private:
  enum class Mode { kSelect, kRecord, kReplay };

  const double* at(int tensor) const { return tensors_[tensor].data(); }

  // x / sqrt(mean x^2 + eps) * gain, row by row.
  static Rows RmsNorm(const Rows& x, const double* gain) {
    Rows y = x;
    for (std::vector<double>& row : y) {
      double mean = 0;
      for (const double v : row) mean += v * v / static_cast<double>(row.size());
      for (size_t c = 0; c < row.size(); ++c) row[c] *= gain[c] / std::sqrt(mean + static_cast<double>(FLT_EPSILON));
    }
    return y;
  }

  // W [out][in], rows of x; bias -1: none.
  Rows Linear(int weight, int bias, const Rows& x) const {
    const int64_t out = registry_[weight].rows, in = registry_[weight].cols;
    Rows y(x.size(), std::vector<double>(out));
    for (size_t t = 0; t < x.size(); ++t) {
      for (int64_t o = 0; o < out; ++o) {
        y[t][o] = std::inner_product(x[t].begin(), x[t].end(), at(weight) + o * in, bias < 0 ? 0.0 : at(bias)[o]);
      }
    }
    return y;
  }

  void Select(Place place, int layer, int sequence, Rows& x) {
    if (spec_.has_topk(place)) {
      for (std::vector<double>& row : x) KeepLargest(spec_.kept(place), row);
    }
    if (hook_) hook_(place, layer, sequence, x);
  }

  void KeepLargest(int k, std::vector<double>& row) {
    Keep(row, [k](const std::vector<double>& x) {
      std::vector<bool> kept(x.size(), false);
      std::vector<int> order(x.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return std::fabs(x[a]) > std::fabs(x[b]); });
      for (int i = 0; i < k; ++i) kept[order[i]] = true;
      return kept;
    });
  }

  // Zeroes what `choose` leaves out, or what was left out in the frozen call.
  template <typename Choose>
  void Keep(std::vector<double>& row, Choose choose) {
    const std::vector<bool> kept = mode_ == Mode::kReplay ? selections_[next_++] : choose(row);
    if (mode_ == Mode::kRecord) selections_.push_back(kept);
    for (size_t c = 0; c < row.size(); ++c) {
      if (!kept[c]) row[c] = 0;
    }
  }

  void Activate(std::vector<double>& row) {
    if (spec_.activation == config::Activation::kGelu) {
      for (double& x : row) x *= 0.5 * std::erfc(-x / std::sqrt(2.0));
      return;
    }
    Keep(row, [](const std::vector<double>& x) {
      std::vector<bool> positive;
      positive.reserve(x.size());
      for (const double value : x) positive.push_back(value > 0);
      return positive;
    });
  }

  // The norm of the residual with the normed positions appended.
  Rows Input(const Rows& x, int gain, int position_gain) const {
    Rows a = RmsNorm(x, at(gain));
    if (spec_.d_pos_emb == 0) return a;
    const int P = spec_.d_pos_emb;
    Rows positions;
    positions.reserve(x.size());
    for (size_t t = 0; t < x.size(); ++t) {
      positions.emplace_back(at(registry_.wpe()) + t * P, at(registry_.wpe()) + (t + 1) * P);
    }
    positions = RmsNorm(positions, at(position_gain));
    for (size_t t = 0; t < x.size(); ++t) a[t].insert(a[t].end(), positions[t].begin(), positions[t].end());
    return a;
  }

  static Rows Columns(const Rows& x, int first, int count) {
    Rows y;
    y.reserve(x.size());
    for (const std::vector<double>& row : x) y.emplace_back(row.begin() + first, row.begin() + first + count);
    return y;
  }

  Rows Attention(const Rows& q, const Rows& k, const Rows& v, int sink) const {
    const int K = spec_.d_head;
    Rows y(q.size(), std::vector<double>(spec_.attention_width(), 0.0));
    for (int h = 0; h < spec_.n_head; ++h) {
      for (size_t t = 0; t < q.size(); ++t) {
        std::vector<double> p(t + 1);
        double z = sink < 0 ? 0 : std::exp(at(sink)[h]);
        for (size_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (int c = h * K; c < (h + 1) * K; ++c) dot += q[t][c] * k[s][c];
          z += p[s] = std::exp(dot / std::sqrt(static_cast<double>(K)));
        }
        for (size_t s = 0; s <= t; ++s) {
          for (int c = h * K; c < (h + 1) * K; ++c) y[t][c] += p[s] / z * v[s][c];
        }
      }
    }
    return y;
  }

  static void AddTo(Rows& x, const Rows& delta) {
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t c = 0; c < x[t].size(); ++c) x[t][c] += delta[t][c];
    }
  }

  void Layer(int l, int sequence, Rows& x) {
    const LayerTensors& w = registry_.layer(l);
    const int HK = spec_.attention_width();
    const auto select = [&](Place place, Rows& rows) { Select(place, l, sequence, rows); };
    select(Place::kResidIn, x);
    Rows a = Input(x, w.ln_1, w.ln_p1);
    select(Place::kAttnIn, a);
    const Rows qkv = Linear(w.c_attn, w.c_attn_bias, a);
    Rows q = Columns(qkv, 0, HK), k = Columns(qkv, HK, HK), v = Columns(qkv, 2 * HK, HK);
    select(Place::kQ, q);
    select(Place::kK, k);
    select(Place::kV, v);
    Rows y = Attention(q, k, v, w.sink);
    select(Place::kAttnY, y);
    Rows attention_out = Linear(w.attn_c_proj, w.attn_c_proj_bias, y);
    select(Place::kAttnOut, attention_out);
    AddTo(x, attention_out);
    select(Place::kResidMid, x);
    Rows m = Input(x, w.ln_2, w.ln_p2);
    select(Place::kMlpIn, m);
    Rows n = Linear(w.c_fc, w.c_fc_bias, m);
    for (std::vector<double>& row : n) Activate(row);
    select(Place::kMlpNeuron, n);
    Rows mlp_out = Linear(w.mlp_c_proj, w.mlp_c_proj_bias, n);
    select(Place::kMlpOut, mlp_out);
    AddTo(x, mlp_out);
  }

  double Sequence(std::span<const int32_t> tokens, int sequence, Rows* logits_out) {
    const int D = spec_.d_model, V = spec_.vocab;
    Rows x;
    for (const int32_t token : tokens) {
      const double* row = at(registry_.wte()) + static_cast<size_t>(token) * D;
      x.emplace_back(row, row + D);
    }
    for (int l = 0; l < spec_.n_layer; ++l) Layer(l, sequence, x);
    Select(Place::kFinalResid, spec_.n_layer, sequence, x);
    Rows logits = Linear(registry_.lm_head(), -1, RmsNorm(x, at(registry_.ln_f())));
    double loss = 0;
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (int c = 0; c < V && registry_.bigram() >= 0; ++c) {
        logits[t][c] += at(registry_.bigram())[static_cast<size_t>(tokens[t]) * V + c];
      }
      double z = 0;
      for (const double logit : logits[t]) z += std::exp(logit);
      if (t + 1 < tokens.size()) loss += std::log(z) - logits[t][tokens[t + 1]];
    }
    if (logits_out != nullptr) *logits_out = std::move(logits);
    return loss;
  }

  const ModelSpec& spec_;
  const Registry& registry_;
  std::vector<std::vector<double>> tensors_;
  Hook hook_;
  Mode mode_ = Mode::kSelect;
  std::vector<std::vector<bool>> selections_;
  size_t next_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_TESTS_WORKER_MODEL_PLAIN_MODEL_H_
