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

// x Phi(x) = max(x, 0) - z Phi(-z).
template <class D, class V>
HWY_INLINE V Gelu(D d, V x) {
  const V one = hn::Set(d, 1.0f), z = TailArgument(d, x);
  const V zt = hn::Div(z, hn::MulAdd(hn::Set(d, kTailScale), z, one));
  const V u = hn::NegMulAdd(hn::Set(d, 2 * kTailScale), zt, one);
  const V tail = hn::Mul(zt, TailPolynomial(d, u));
  const V positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  return hn::NegMulAdd(tail, Bell(d, z), positive);
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
