#include "kernels/base/simd.h"

#include <cstdint>

#include "hwy/targets.h"

namespace filigree::kernels {

bool SimdSupported() { return (hwy::SupportedTargets() & (HWY_AVX2 | HWY_AVX3)) != 0; }

std::string SimdTargetName() {
  const int64_t targets = hwy::SupportedTargets();
  if (targets & HWY_AVX3) return "AVX-512";
  if (targets & HWY_AVX2) return "AVX2";
  return "none";
}

void RestrictSimdToAvx2(bool restrict_to_avx2) {
  hwy::DisableTargets(restrict_to_avx2 ? ~int64_t{HWY_AVX2 | (HWY_AVX2 - 1)} | (HWY_AVX2 - 1) : 0);
  // Not DeInit: the first call of SupportedTargets in a process chooses by itself, without asking what is disabled.
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace filigree::kernels
