// GELU and its derivative, for Highway: included by activation_simd.cc, compiled once per target.
#if defined(FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#undef FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#else
#define FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#endif

#include "kernels/activation/gelu_tables.h"
#include "kernels/activation/lookup-inl.h"
#include "kernels/base/exp-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The left tail of the normal distribution, for z = |x|:
//
//   Phi(-z) = t p(u) e^(-z^2 / 2),   t = 1 / (1 + a z),   u = 2 t - 1,   a = 19/64
//
// p is minimax of degree 9 on 0 <= z <= 13.2, relative error 2.3e-9: Phi(-z) e^(z^2 / 2) falls like 1/z, so that after
// division by t little is left to approximate. Beyond 13.2 the exponential, and with it the tail, is zero in fp32.
constexpr float kTailScale = 0.296875f;
constexpr float kTailEnd = 13.25f;

template <class D, class V>
HWY_INLINE V TailPolynomial(D d, V u) {
  V p = hn::MulAdd(hn::Set(d, -4.01688376e-5f), u, hn::Set(d, 8.94918994e-5f));
  p = hn::MulAdd(p, u, hn::Set(d, 2.56671919e-4f));
  p = hn::MulAdd(p, u, hn::Set(d, -6.52120216e-4f));
  p = hn::MulAdd(p, u, hn::Set(d, -2.33683502e-3f));
  p = hn::MulAdd(p, u, hn::Set(d, 2.46115727e-3f));
  p = hn::MulAdd(p, u, hn::Set(d, 2.89331768e-2f));
  p = hn::MulAdd(p, u, hn::Set(d, 8.7369293e-2f));
  p = hn::MulAdd(p, u, hn::Set(d, 0.163965672f));
  return hn::MulAdd(p, u, hn::Set(d, 0.219953656f));
}

// |x|, at most kTailEnd. Min returns its second operand where one is NaN (minps), so NaN stays.
template <class D, class V>
HWY_INLINE V TailArgument(D d, V x) {
  return hn::Min(hn::Set(d, kTailEnd), hn::Abs(x));
}

// e^(-z^2 / 2): the square is formed in two parts, since half an ulp of 50 would be 2e-6 in the result.
template <class D, class V>
HWY_INLINE V Bell(D d, V z) {
  const V half = hn::Mul(hn::Set(d, -0.5f), z);
  const V square = hn::Mul(half, z);
  return Exp(d, square, hn::MulSub(half, z, square));
}

// x Phi(x) = max(x, 0) - T(z), T(z) = z Phi(-z), for z < kValueEnd, within 0.502 ulp of the truth for x >= -3
// and 0.51 further left: AbsTopK compares values, and near x = -0.75, where GELU is flat, the magnitudes of two neurons
// are often closer together than the roundings of an fp32 evaluation.
//
// T = c0 + r (c1 + r (c2 + r q)) with the coefficients of the piece that z is in, r = z - centre exactly. Each of the
// three sums outside of q keeps what its rounding lost (low, from a fused multiply-add that repeats it), since c0 and
// c1 err by 2^-32 of T at most (gelu_tables.py) and the rest is multiplied by r^3.
template <class D, class V>
HWY_INLINE V GeluNear(D d, V x) {
  const V z = hn::Abs(x);
  const Lookup<D> piece(
      hn::MulAdd(z, hn::MulAdd(z, hn::Set(d, kValueBend), hn::Set(d, kValueSlope)), hn::Set(d, kRoundToIndex)));
  const V r = hn::Sub(z, piece(kValueTable[0]));
  V first[4], last[4];
  piece.template Four<8>(kValueTable + 5, kValueRows[0] + 4, last);
  piece.template Four<8>(kValueTable + 1, kValueRows[0], first);
  const V c0 = first[0], c1 = first[1], c2 = first[2];
  V q = hn::MulAdd(last[3], r, last[2]);
  q = hn::MulAdd(q, r, last[1]);
  q = hn::MulAdd(q, r, last[0]);
  q = hn::MulAdd(q, r, first[3]);

  const V high2 = hn::MulAdd(q, r, c2);
  const V low2 = hn::MulAdd(q, r, hn::Sub(c2, high2));
  const V high1 = hn::MulAdd(high2, r, c1);
  const V low1 = hn::MulAdd(low2, r, hn::MulAdd(high2, r, hn::Sub(c1, high1)));
  const V positive = hn::Max(x, hn::Zero(d)), above = hn::Sub(positive, c0);
  const V above_low = hn::Sub(hn::Sub(positive, above), c0);
  const V y = hn::NegMulAdd(high1, r, above);
  const V low = hn::Add(hn::NegMulAdd(high1, r, hn::Sub(above, y)), above_low);
  return hn::Add(y, hn::NegMulAdd(low1, r, low));
}

// x Phi(x) for any x, infinities and NaN among them, relative error below 1e-6: from kValueEnd on x itself, below
// -kValueEnd of the order of 1e-9, where no selection looks.
template <class D, class V>
HWY_NOINLINE V GeluFar(D d, V x) {
  const V one = hn::Set(d, 1.0f), z = TailArgument(d, x);
  const V zt = hn::Div(z, hn::MulAdd(hn::Set(d, kTailScale), z, one));
  const V u = hn::NegMulAdd(hn::Set(d, 2 * kTailScale), zt, one);
  const V tail = hn::Mul(zt, TailPolynomial(d, u));
  const V positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  return hn::NegMulAdd(tail, Bell(d, z), positive);
}

template <class D, class V>
HWY_INLINE V Gelu(D d, V x) {
  const V y = GeluNear(d, x);
  const auto near = hn::Lt(hn::Abs(x), hn::Set(d, kValueEnd));
  return HWY_LIKELY(hn::AllTrue(d, near)) ? y : hn::IfThenElse(near, y, GeluFar(d, x));
}

// Phi(x) + x phi(x) = S for x < 0 and 1 - S otherwise, S(z) = Phi(-z) - z phi(z) by pieces of one width, the last of
// which is zero. Absolute error below 2e-7, most of it roundings.
template <class D, class V>
HWY_INLINE V GeluDerivative(D d, V x) {
  const V z = hn::Min(hn::Set(d, 31 * kDerivativeStep), hn::Abs(x));  // NaN stays: see TailArgument
  const V shifted = hn::MulAdd(z, hn::Set(d, 1 / kDerivativeStep), hn::Set(d, kRoundToIndex));
  const V r = hn::NegMulAdd(hn::Sub(shifted, hn::Set(d, kRoundToIndex)), hn::Set(d, kDerivativeStep), z);
  const Lookup<D> piece(shifted);
  V c[4];
  piece.template Four<4>(kDerivativeTable, kDerivativeRows[0], c);
  V s = hn::MulAdd(piece(kDerivativeTable[4]), r, c[3]);
  s = hn::MulAdd(s, r, c[2]);
  s = hn::MulAdd(s, r, c[1]);
  s = hn::MulAdd(s, r, c[0]);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), s, hn::Sub(hn::Set(d, 1.0f), s));
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
