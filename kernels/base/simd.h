#ifndef FILIGREE_KERNELS_BASE_SIMD_H_
#define FILIGREE_KERNELS_BASE_SIMD_H_

#include <string>

// How SIMD kernels are written here, so that AVX2 and AVX-512 give the same bits:
//
// - A kernel file NAME_simd.cc is compiled by Highway once for AVX2 and once for AVX-512 (all others are disabled) and
//   chooses at run time; it includes "kernels/base/simd_targets.h" before "hwy/foreach_target.h".
// - Vectors run over tokens, lane by lane, so most kernels have no horizontal arithmetic and agree by construction.
// - A sum over the 64 tokens of a row is defined in 16 logical lanes: lane i adds tokens i, i+16, i+32, i+48 in this
//   order, then the lanes are added as a tree, distance 8, 4, 2, 1 (lane i += lane i + distance). Where many such sums
//   are formed at once another order of the distances is cheaper: the kernel's header has it then.
// - a * b + c is always one fused multiply-add, in both targets and in the reference (std::fma) where bits must agree.

namespace filigree::kernels {

// What this machine would choose: "AVX-512" or "AVX2"; "none" where it has neither.
std::string SimdTargetName();

// False on machines without AVX2 and FMA, where the program must refuse to start.
bool SimdSupported();

// For tests and for comparing bits: forbids AVX-512 from now on (or allows it again). Not thread-safe.
void RestrictSimdToAvx2(bool restrict_to_avx2);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_SIMD_H_
