// The power of two of the softmax, for Highway: compiled once per target.
#if defined(FILIGREE_KERNELS_ATTENTION_EXP2_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ATTENTION_EXP2_INL_H_
#undef FILIGREE_KERNELS_ATTENTION_EXP2_INL_H_
#else
#define FILIGREE_KERNELS_ATTENTION_EXP2_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2^x for x <= 0. Error below 1 ulp; exactly 1 at 0 and exactly 0 below -126, minus infinity included. The same bits in
// AVX2 and AVX-512.
//
// x = n + f with |f| <= 1/2, exactly; 2^f = 1 + f q(f), q of degree 5 through Chebyshev nodes, relative error 9e-9.
// Adding 1.5 * 2^23 rounds x to the integer n and leaves it in the low mantissa bits, from where it is added to the
// exponent of 2^f.
template <class D, class V>
HWY_INLINE V Exp2(D d, V x) {
  const V magic = hn::Set(d, 12582912.0f);
  const V shifted = hn::Add(x, magic);
  const V f = hn::Sub(x, hn::Sub(shifted, magic));
  V q = hn::MulAdd(hn::Set(d, 0.000154531634f), f, hn::Set(d, 0.00133908633f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.00961808302f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.0555035695f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.240226507f));
  q = hn::MulAdd(q, f, hn::Set(d, 0.693147182f));
  const V power = hn::MulAdd(q, f, hn::Set(d, 1.0f));
  const hn::RebindToSigned<D> di;
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const V scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, power), exponent));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), scaled);
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ATTENTION_EXP2_INL_H_
