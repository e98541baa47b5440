// Included first by every *_simd.cc: which instruction sets Highway compiles for. AVX2 has FMA, the older ones have not
// and would round differently.
#ifndef FILIGREE_KERNELS_BASE_SIMD_TARGETS_H_
#define FILIGREE_KERNELS_BASE_SIMD_TARGETS_H_

// Highway wants its static target among those compiled; AVX2 is ours (the program refuses to start without it).
#ifndef HWY_BASELINE_TARGETS
#define HWY_BASELINE_TARGETS HWY_AVX2
#endif
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (~(HWY_AVX2 | HWY_AVX3))
#endif

#endif  // FILIGREE_KERNELS_BASE_SIMD_TARGETS_H_
