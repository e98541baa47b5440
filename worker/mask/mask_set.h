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
// With scope global the matrices of the layers (density class kWeight) share a threshold: together they keep the sum of
// their k's, every unit its j largest (j of the matrix's own k), the rest by |w| among all of them; ties: the earlier
// tensor, then the lower index (kernels/shared_topk). What a matrix keeps is its share. Embeddings, which follow
// another density, and sparse biases keep their own k.
//
// A tensor at density 1 has no mask (kept() is null). Where a tensor has candidates, the choice is among them, and a
// mask is a bitmap over them (kernels/csr/pattern.h).

namespace filigree::mask {

class MaskSet {
 public:
  // Borrows the registry. Tensors of density class kBias take part where `biases` is kSparse.
  MaskSet(const model::Registry& registry, int64_t min_alive, config::Biases biases,
          config::MaskScope scope = config::MaskScope::kMatrix);

  // Will Update with these densities leave the tensor a mask? If not, it decays elsewhere.
  bool WillMask(int tensor, const Densities& densities, const model::Layout& layout) const;

  // Selects and applies, for every sparsified tensor. `decay` multiplies kept entries of tensors that decay (their
  // weight decay); tensors without a mask are left alone, they decay elsewhere. Deterministic for any number of
  // threads.
  void Update(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights);

  // Before an update writes the weights among which the next mask is chosen, at these densities, and while it does:
  // stored values [begin, begin + size) of a tensor have theirs, and are in cache. So that the choice among candidates
  // needs no read of its own; without it the masks are the same. Written may be said by several threads at once, of
  // pieces that begin at multiples of 64.
  void BeginWriting(const Densities& densities, const model::Layout& layout);
  void Written(int tensor, int64_t begin, int64_t size, const model::Arena& weights);

  // Update for the tensors that `wanted` names; the others keep their masks. Of matrices that share a threshold those
  // that are wanted share theirs.
  void UpdateTensors(const Densities& densities, float decay, kernels::ThreadPool& pool, model::Arena& weights,
                     const std::function<bool(int tensor)>& wanted);

  // Does this tensor share its threshold with others?
  bool shares(int tensor) const;
  // What a whole tensor keeps at these densities, before it shares: k is its own.
  kernels::WeightSelection SelectionOf(int tensor, const Densities& densities, const model::Layout& layout) const;
  // A mask that was chosen elsewhere, null: all are kept; the weights outside become 0, those inside decay.
  void Apply(int tensor, const uint64_t* kept, float decay, kernels::ThreadPool& pool, model::Arena& weights);

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
  struct Choice {
    int tensor = 0;
    int64_t k = 0;
    int min_alive = 0;
  };
  Choice ChoiceOf(int tensor, const Densities& densities, const model::Layout& layout) const;
  void Share(const std::vector<int>& tensors, const Densities& densities, kernels::ThreadPool& pool,
             const model::Arena& weights, std::vector<Choice>& choices);
  void Select(const Choice& choice, float decay, kernels::ThreadPool& pool, model::Arena& weights);
  void SelectOnCandidates(std::vector<Choice> choices, float decay, kernels::ThreadPool& pool, model::Arena& weights);

  struct Mask {
    bool sparsified = false;
    bool all = true;
    int64_t nonzeros = 0;
    kernels::WeightThreshold threshold;
    kernels::Buffer<uint64_t> kept;
    kernels::CandidateScan scan;  // of the weights that are being written
  };

  const model::Registry& registry_;
  int64_t min_alive_;
  config::MaskScope scope_;
  float shared_threshold_ = 0;  // the guess of the next
  std::vector<Mask> masks_;     // one a tensor
};

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_MASK_SET_H_
