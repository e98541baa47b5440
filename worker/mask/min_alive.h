#ifndef FILIGREE_WORKER_MASK_MIN_ALIVE_H_
#define FILIGREE_WORKER_MASK_MIN_ALIVE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/config/settings.h"
#include "worker/mask/density.h"
#include "worker/model/registry.h"

// How many entries a mask keeps, and how many of them every unit is sure of.

namespace filigree::mask {

// k = floor(f * numel), in double.
int64_t KeptEntries(double density, int64_t numel);

// Units of the min alive rule: rows of c_attn and c_fc, columns of both c_proj, none elsewhere.
int64_t UnitsOf(const model::TensorInfo& tensor);

// min_alive lowered to floor(k / units), and how much of k it takes. Zero where the tensor has no units.
struct MinAlive {
  int64_t j = 0;
  double share_of_k = 0;  // j * units / k
};
MinAlive EffectiveMinAlive(const model::TensorInfo& tensor, int64_t k, int64_t min_alive);

// What a user should know before the first step, one sentence each: min alive's share of k at the final density, where
// it is lowered, where it leaves the global ranking nothing to choose (lowered or not, it takes all of k). The matrices
// of all layers are named once, by kind. With scope global the ranking is one for all of them, and so is its share of
// k. Empty: nothing to say, as no matrix is masked or min alive is 0.
std::vector<std::string> MinAliveNotes(const model::Registry& registry, const Densities& final_densities,
                                       int64_t min_alive, config::MaskScope scope = config::MaskScope::kMatrix);

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_MIN_ALIVE_H_
