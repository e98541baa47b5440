// Gradients of attention against finite differences in double.

#include "gtest/gtest.h"
#include "kernels/attention/attention_ref.h"
#include "tests/kernels/attention/head.h"
#include "tests/support/gradient_check.h"

namespace filigree::kernels {
namespace {

using testing_support::GradientError;
using testing_support::Head;
using testing_support::HeadShape;
using testing_support::NumericDerivative;
using testing_support::PlainAttention;

// sum of y * dy as a function of everything attention reads.
struct ScalarAttention {
  int tokens, channels;
  std::vector<double> q, k, v, dy;
  double sink;
  bool has_sink;

  explicit ScalarAttention(const Head& h)
      : tokens(h.shape.tokens),
        channels(h.shape.channels),
        q(h.q.RowMajor<double>(tokens)),
        k(h.k.RowMajor<double>(tokens)),
        v(h.v.RowMajor<double>(tokens)),
        dy(h.dy.RowMajor<double>(tokens)),
        sink(h.sink),
        has_sink(h.shape.sink) {}

  double Value() const {
    std::vector<double> y(q.size()), max(tokens), inverse(tokens);
    ref::AttentionForwardIn<double>({tokens, channels, q.data(), k.data(), v.data(), has_sink ? &sink : nullptr},
                                    y.data(), max.data(), inverse.data());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  }
};

class AttentionGradient : public testing::TestWithParam<HeadShape> {};

TEST_P(AttentionGradient, OfTheReferenceIsTheSlopeOfItsForward) {
  const double bound = 1e-9;  // of a fourth-order difference with h = 1e-3
  const Head head(GetParam(), /*seed=*/21);
  const PlainAttention<double> plain(head, /*with_bits=*/false);
  ScalarAttention f(head);
  EXPECT_LT(GradientError(f.q, plain.dq, [&] { return f.Value(); }), bound);
  EXPECT_LT(GradientError(f.k, plain.dk, [&] { return f.Value(); }), bound);
  EXPECT_LT(GradientError(f.v, plain.dv, [&] { return f.Value(); }), bound);
  if (head.shape.sink) {
    const double numeric = NumericDerivative(f.sink, [&] { return f.Value(); });
    EXPECT_NEAR(plain.dsink, numeric, bound * std::abs(numeric));
  }
}

// The same slopes for the kernel itself, in float: nothing of the reference's backward is used.
TEST_P(AttentionGradient, OfTheKernelIsTheSlopeInDouble) {
  const double bound = 1e-6;
  Head head(GetParam(), /*seed=*/22);
  head.Run(/*with_bits=*/false);
  ScalarAttention f(head);
  const int tokens = head.shape.tokens;
  EXPECT_LT(GradientError(f.q, head.dq.RowMajor<double>(tokens), [&] { return f.Value(); }), bound);
  EXPECT_LT(GradientError(f.k, head.dk.RowMajor<double>(tokens), [&] { return f.Value(); }), bound);
  EXPECT_LT(GradientError(f.v, head.dv.RowMajor<double>(tokens), [&] { return f.Value(); }), bound);
  if (head.shape.sink) {
    const double numeric = NumericDerivative(f.sink, [&] { return f.Value(); });
    EXPECT_NEAR(head.dsink, numeric, bound * std::abs(numeric));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionGradient,
                         testing::Values(HeadShape{.channels = 4, .tokens = 9, .density = 1},
                                         HeadShape{.channels = 5, .tokens = 13, .density = 0.5, .sink = true},
                                         HeadShape{.channels = 16, .tokens = 20, .density = 0.3, .sink = true},
                                         HeadShape{.channels = 3, .tokens = 67, .density = 1, .sink = true}));

}  // namespace
}  // namespace filigree::kernels
