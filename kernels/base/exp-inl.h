// The exponential of kernels, for Highway: included by *_simd.cc after "hwy/highway.h", compiled once per target.
#if defined(FILIGREE_KERNELS_BASE_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_BASE_EXP_INL_H_
#undef FILIGREE_KERNELS_BASE_EXP_INL_H_
#else
#define FILIGREE_KERNELS_BASE_EXP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^(x + extra) for x <= 88 and |extra| far below 1: the low part of an x that one float cannot hold, or zero.
//
// Error below 1 ulp; exactly 0 for x < -87.3, where the result would be subnormal; NaN stays NaN. The same bits in AVX2
// and AVX-512.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + r + r^2 q(r); q is minimax of degree 4, relative error 3e-9. Adding
// 1.5 * 2^23 rounds x / ln 2 to the integer n and leaves it in the low mantissa bits; with 127 added as well, those
// bits are the exponent field of 2^n.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x, V extra) {
  const V magic = hn::Set(d, 12582912.0f + 127.0f);
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693147182f), x);  // exact: the first part of ln 2
  r = hn::NegMulAdd(n, hn::Set(d, -1.90465429e-9f), r);
  r = hn::Add(r, extra);
  V q = hn::MulAdd(hn::Set(d, 1.38142216e-3f), r, hn::Set(d, 8.36889911e-3f));
  q = hn::MulAdd(q, r, hn::Set(d, 4.16684039e-2f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.166665196f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.49999994f));
  const V e = hn::Add(hn::MulAdd(hn::Mul(r, r), q, r), hn::Set(d, 1.0f));
  const hn::RebindToSigned<D> di;
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3f)), hn::Mul(e, power));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  return Exp(d, x, hn::Zero(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_BASE_EXP_INL_H_
