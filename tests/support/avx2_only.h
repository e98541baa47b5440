#ifndef FILIGREE_TESTS_SUPPORT_AVX2_ONLY_H_
#define FILIGREE_TESTS_SUPPORT_AVX2_ONLY_H_

#include "kernels/base/simd.h"

namespace filigree::testing_support {

// While it lives, kernels run their AVX2 code: for comparing its bits with those of AVX-512. On a machine without
// AVX-512 both runs are the same one.
class Avx2Only {
 public:
  Avx2Only() { kernels::RestrictSimdToAvx2(true); }
  ~Avx2Only() { kernels::RestrictSimdToAvx2(false); }
  Avx2Only(const Avx2Only&) = delete;
  Avx2Only& operator=(const Avx2Only&) = delete;
};

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_SUPPORT_AVX2_ONLY_H_
