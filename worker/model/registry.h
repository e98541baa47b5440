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

// Which of a whole tensor's rows (or columns) are here: those are cut into `stripes` equal runs (q, k and v are three),
// and of each the rows from `begin` on, as many as are here divided by stripes.
struct Range {
  int64_t whole = 0;
  int stripes = 1;
  int64_t begin = 0;

  int64_t WholeIndex(int64_t i, int64_t here) const {
    const int64_t run = here / stripes;
    return i / run * (whole / stripes) + begin + i % run;
  }
};

struct TensorInfo {
  std::string name;            // as in the released models: transformer.h.0.attn.c_attn.weight
  std::string kind;            // the same in every layer: attn.c_attn.weight
  int layer = -1;              // -1: belongs to no layer
  std::vector<int64_t> shape;  // one or two dimensions
  int64_t rows = 1, cols = 0;  // a vector has one row
  Range row_range, col_range;  // where those lie in the whole tensor, if ranks share it
  bool shared = false;         // every entry is on one rank of the shard's; else every rank has all of the tensor
  Density density = Density::kDense;
  kernels::Unit unit = kernels::Unit::kNone;  // of the min alive rule
  bool decays = false;                        // weight decay: 2-D tensors except bigram
  Init init = Init::kZero;
  double init_scale = 0;  // standard deviation of kNormal, upper end of kUniform
  int index = 0;          // in Registry::tensors()

  int64_t numel() const { return rows * cols; }
  int64_t whole_numel() const { return shared ? row_range.whole * col_range.whole : numel(); }
  // Of an entry here, its index in the whole tensor: ascends with i, so that of two entries the lower one is the lower.
  int64_t WholeIndex(int64_t i) const {
    if (!shared) return i;
    return row_range.WholeIndex(i / cols, rows) * col_range.whole + col_range.WholeIndex(i % cols, cols);
  }
  // The whole tensor, as a registry of one rank has it.
  TensorInfo Whole() const;
};

// Indices of one layer's tensors in Registry::tensors(); -1 where the model has none.
struct LayerTensors {
  int ln_1 = -1, ln_p1 = -1, c_attn = -1, c_attn_bias = -1, sink = -1, attn_c_proj = -1, attn_c_proj_bias = -1;
  int ln_2 = -1, ln_p2 = -1, c_fc = -1, c_fc_bias = -1, mlp_c_proj = -1, mlp_c_proj_bias = -1;
};

class Registry {
 public:
  // With a shard of several ranks: of c_attn (within each of q, k and v), c_fc, their biases, lm_head and the sinks the
  // rows of the rank's groups, of both c_proj and bigram its columns; everything else whole. Names, order, kinds and
  // initial values are those of the whole model.
  explicit Registry(const ModelSpec& spec, Shard shard = {});

  const Shard& shard() const { return shard_; }

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

  int64_t trained_elements() const { return trained_elements_; }  // here
  std::vector<int64_t> numels() const;                            // of the tensors, for a Layout

 private:
  int Add(TensorInfo info);
  void AddLayer(const ModelSpec& spec, int l);
  void Cut(const ModelSpec& spec);

  Shard shard_;
  std::vector<TensorInfo> tensors_;
  std::vector<LayerTensors> layers_;
  int wte_ = -1, wpe_ = -1, ln_f_ = -1, lm_head_ = -1, bigram_ = -1;
  int64_t trained_elements_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_REGISTRY_H_
