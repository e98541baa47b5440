#ifndef FILIGREE_WORKER_MODEL_REGISTRY_H_
#define FILIGREE_WORKER_MODEL_REGISTRY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/weight_topk/weight_topk.h"
#include "worker/model/spec.h"

// Every tensor of a model, once: name, shape, how it starts, how it is sparsified, whether it decays. All rooms that
// walk over parameters walk over this list, in this order. Where values lie is worker/model/layout.h.

namespace filigree::model {

// Which density a tensor follows.
enum class Density {
  kDense,      // never sparsified: gains, sinks, bigram, positions
  kWeight,     // f_w: c_attn, c_fc, both c_proj
  kEmbedding,  // f_e: wte, lm_head
  kBias        // dense, or f_w where biases are sparse
};

enum class Init { kZero, kOne, kNormal, kUniform };

struct TensorInfo {
  std::string name;            // as in the released models: transformer.h.0.attn.c_attn.weight
  std::string kind;            // the same in every layer: attn.c_attn.weight
  int layer = -1;              // -1: belongs to no layer
  std::vector<int64_t> shape;  // one or two dimensions
  int64_t rows = 1, cols = 0;  // a vector has one row
  Density density = Density::kDense;
  kernels::Unit unit = kernels::Unit::kNone;  // of the min alive rule
  bool decays = false;                        // weight decay: 2-D tensors except bigram
  Init init = Init::kZero;
  double init_scale = 0;  // standard deviation of kNormal, upper end of kUniform
  int index = 0;          // in Registry::tensors()

  int64_t numel() const { return rows * cols; }
};

// Indices of one layer's tensors in Registry::tensors(); -1 where the model has none.
struct LayerTensors {
  int ln_1 = -1, ln_p1 = -1, c_attn = -1, c_attn_bias = -1, sink = -1, attn_c_proj = -1, attn_c_proj_bias = -1;
  int ln_2 = -1, ln_p2 = -1, c_fc = -1, c_fc_bias = -1, mlp_c_proj = -1, mlp_c_proj_bias = -1;
};

class Registry {
 public:
  explicit Registry(const ModelSpec& spec);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo& operator[](int i) const { return tensors_[i]; }
  int size() const { return static_cast<int>(tensors_.size()); }
  // Index of a name, -1 where there is none.
  int Find(const std::string& name) const;

  const LayerTensors& layer(int l) const { return layers_[l]; }
  int wte() const { return wte_; }
  int wpe() const { return wpe_; }
  int ln_f() const { return ln_f_; }
  int lm_head() const { return lm_head_; }
  int bigram() const { return bigram_; }

  int64_t trained_elements() const { return trained_elements_; }
  std::vector<int64_t> numels() const;  // of the tensors, for a Layout

 private:
  int Add(TensorInfo info);
  void AddLayer(const ModelSpec& spec, int l);

  std::vector<TensorInfo> tensors_;
  std::vector<LayerTensors> layers_;
  int wte_ = -1, wpe_ = -1, ln_f_ = -1, lm_head_ = -1, bigram_ = -1;
  int64_t trained_elements_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_REGISTRY_H_
