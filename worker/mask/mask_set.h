#ifndef FILIGREE_WORKER_MASK_MASK_SET_H_
#define FILIGREE_WORKER_MASK_MASK_SET_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/candidate_topk/candidate_topk.h"
#include "kernels/weight_topk/weight_topk.h"
#include "worker/config/settings.h"
#include "worker/mask/density.h"
#include "worker/mask/min_alive.h"
#include "worker/model/arena.h"

// The masks of all sparsified tensors of a model: which entries exist, chosen anew after every step.
//
//   k = floor(f * numel) entries of each tensor by |w|, every unit keeping its j largest (kernels/weight_topk), others
//   become exactly 0; then kept entries decay: w *= decay.
//
// j is min_alive, lowered to floor(k / units) where k is too small.
//
// A tensor at density 1 has no mask (kept() is null). Where a tensor has candidates, the choice is among them, and a
// mask is a bitmap over them (kernels/csr/pattern.h).

namespace filigree::mask {

class MaskSet {
 public:
  // Borrows the registry. Tensors of density class kBias take part where `biases` is kSparse.
  MaskSet(const model::Registry& registry, int64_t min_alive, config::Biases biases);

  // Will Update with these densities leave the tensor a mask? If not, it decays elsewhere.
  bool WillMask(int tensor, const Densities& densities, const model::Layout& layout) const;

  // Selects and applies, for every sparsified tensor. `decay` multiplies kept entries of tensors that decay (their
  // weight decay); tensors without a mask are left alone, they decay elsewhere. Deterministic for any number of
  // threads.
  void Update(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights);

  // The same for the tensors that `wanted` names; the others keep their masks.
  void UpdateTensors(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights,
                     const std::function<bool(int tensor)>& wanted);

  // Bitmap over a tensor's stored values, null: all are kept.
  const uint64_t* kept(int tensor) const;
  // Entries the mask keeps; all that are stored where there is no mask.
  int64_t nonzeros(int tensor) const;
  // Does this tensor follow a density at all?
  bool sparsified(int tensor) const;
  // The last selection's threshold (0: none), also the guess of the next.
  kernels::WeightThreshold threshold(int tensor) const;

  // For a resume, or candidates that changed: takes the bitmap of a tensor over `stored` values (null: all) with its
  // threshold.
  void Restore(int tensor, const uint64_t* kept, int64_t stored, kernels::WeightThreshold threshold);

  size_t bytes() const;

 private:
  void UpdateCandidates(std::vector<int> tensors, float decay, kernels::ThreadPool& pool, model::Arena& weights);
  int64_t KeptOf(int tensor, const Densities& densities, const model::Layout& layout) const;
  kernels::CandidateSelection CandidateRule(const model::TensorInfo& info, int64_t k) const;

  struct Mask {
    bool sparsified = false;
    bool all = true;
    int64_t nonzeros = 0;
    kernels::WeightThreshold threshold;
    kernels::Buffer<uint64_t> kept;
  };

  const model::Registry& registry_;
  int64_t min_alive_;
  std::vector<Mask> masks_;  // one a tensor
};

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_MASK_SET_H_
