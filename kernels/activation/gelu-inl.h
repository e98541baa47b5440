// GELU and its derivative, for Highway: included by activation_simd.cc, compiled once per target.
#if defined(FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#undef FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#else
#define FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
#endif

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

// The tail once more in double, for values: AbsTopK compares them, and near x = -0.75, where GELU is flat, the
// magnitudes of two neurons are often closer together than the roundings of an fp32 evaluation. p is of degree 11 here,
// relative error 2.7e-10.
template <class DD, class VD>
HWY_INLINE VD TailPolynomialDouble(DD dd, VD u) {
  VD p = hn::MulAdd(hn::Set(dd, 5.735049165074696e-06), u, hn::Set(dd, -1.030766586597041e-05));
  p = hn::MulAdd(p, u, hn::Set(dd, -4.204091049788263e-05));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.00010023445528710931));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.000255172323794045));
  p = hn::MulAdd(p, u, hn::Set(dd, -0.0006562114903367477));
  p = hn::MulAdd(p, u, hn::Set(dd, -0.0023360817007912005));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.0024618304526854303));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.028933083410504826));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.08736925352466271));
  p = hn::MulAdd(p, u, hn::Set(dd, 0.16396567387382197));
  return hn::MulAdd(p, u, hn::Set(dd, 0.21995365873270295));
}

// e^y for -88 <= y <= 0, relative error 3e-10: as Exp of kernels/base/exp-inl.h, with the Taylor polynomial of
// degree 8.
template <class DD, class VD>
HWY_INLINE VD ExpDouble(DD dd, VD y) {
  const VD magic = hn::Set(dd, 6755399441055744.0 + 1023.0);  // 1.5 * 2^52
  const VD shifted = hn::MulAdd(y, hn::Set(dd, 1.4426950408889634), magic);
  const VD r = hn::NegMulAdd(hn::Sub(shifted, magic), hn::Set(dd, 0.6931471805599453), y);
  VD q = hn::MulAdd(hn::Set(dd, 1.0 / 40320), r, hn::Set(dd, 1.0 / 5040));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0 / 720));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0 / 120));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0 / 24));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0 / 6));
  q = hn::MulAdd(q, r, hn::Set(dd, 0.5));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0));
  q = hn::MulAdd(q, r, hn::Set(dd, 1.0));
  const hn::RebindToSigned<DD> di;
  return hn::Mul(q, hn::BitCast(dd, hn::ShiftLeft<52>(hn::BitCast(di, shifted))));
}

// x Phi(x) = max(x, 0) - z Phi(-z), rounded once: at most 0.51 ulp from the truth. x in half as many floats as doubles
// fill a vector.
template <class DF, class VF>
HWY_INLINE VF Gelu(DF df, VF x) {
  const hn::Rebind<double, DF> dd;
  const VF zf = TailArgument(df, x);
  const auto one = hn::Set(dd, 1.0), z = hn::PromoteTo(dd, zf);
  const auto zt = hn::Div(z, hn::MulAdd(hn::Set(dd, static_cast<double>(kTailScale)), z, one));
  const auto u = hn::NegMulAdd(hn::Set(dd, 2 * static_cast<double>(kTailScale)), zt, one);
  const auto exponent = hn::Mul(hn::Mul(z, hn::Set(dd, -0.5)), z);
  const auto bell = hn::IfThenZeroElse(hn::Lt(exponent, hn::Set(dd, -87.3)), ExpDouble(dd, exponent));
  const auto tail = hn::Mul(zt, TailPolynomialDouble(dd, u));
  const auto positive = hn::PromoteTo(dd, hn::IfThenZeroElse(hn::Lt(x, hn::Zero(df)), x));
  return hn::DemoteTo(df, hn::NegMulAdd(tail, bell, positive));
}

// Phi(x) + x phi(x) = s for x < 0 and 1 - s otherwise, s = Phi(-z) - z phi(z).
template <class D, class V>
HWY_INLINE V GeluDerivative(D d, V x) {
  const V one = hn::Set(d, 1.0f), z = TailArgument(d, x);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, kTailScale), z, one));
  const V tail = hn::Mul(t, TailPolynomial(d, hn::MulSub(hn::Set(d, 2.0f), t, one)));
  const V inv_sqrt_2pi = hn::Set(d, 0.398942280f);
  const V s = hn::Mul(hn::NegMulAdd(z, inv_sqrt_2pi, tail), Bell(d, z));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), s, hn::Sub(one, s));
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ACTIVATION_GELU_INL_H_
