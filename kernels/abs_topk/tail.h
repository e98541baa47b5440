#ifndef FILIGREE_KERNELS_ABS_TOPK_TAIL_H_
#define FILIGREE_KERNELS_ABS_TOPK_TAIL_H_

// Where to look for a threshold if entries were normally distributed. Real ones are not, but near enough that a search
// starts well; nothing but its speed depends on this.

namespace filigree::kernels {

inline constexpr int kTailEntries = 4096;

// [kTailEntries + 1]: entry i is log2 of the magnitude, in standard deviations, that a fraction i / kTailEntries of
// normal draws exceeds (both ends moved inside by half an entry). Descending. Computed by the first call.
const float* TailOctaves();

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ABS_TOPK_TAIL_H_
