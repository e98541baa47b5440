// Attention against plain loops in float and double, and the promises of its contract.

#include "kernels/attention/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"
#include "tests/kernels/attention/head.h"
#include "tests/support/avx2_only.h"
#include "tests/support/fingerprint.h"

namespace filigree::kernels {
namespace {

using testing_support::Avx2Only;
using testing_support::Head;
using testing_support::HeadShape;
using testing_support::OwnedSeries;
using testing_support::PlainAttention;
using testing_support::RelativeDistance;

bool SameBits(const OwnedSeries& a, const OwnedSeries& b) {
  return std::memcmp(a.all().data(), b.all().data(), a.all().size_bytes()) == 0;
}

bool SameResults(const Head& a, const Head& b) {
  return SameBits(a.y, b.y) && SameBits(a.dq, b.dq) && SameBits(a.dk, b.dk) && SameBits(a.dv, b.dv) &&
         std::bit_cast<uint32_t>(a.dsink) == std::bit_cast<uint32_t>(b.dsink);
}

// Everything a head writes, as distance from the truth, must stay within 1e-6 or twice what plain float loops cost.
void ExpectAccurate(const Head& head, bool with_bits) {
  const PlainAttention<double> truth(head, with_bits);
  const PlainAttention<float> plain(head, with_bits);
  const auto check = [&](const char* name, const OwnedSeries& mine, const std::vector<double>& t,
                         const std::vector<float>& p) {
    const double bound = std::max(1e-6, 2 * RelativeDistance(p, t, t.size()));
    EXPECT_LE(RelativeDistance(mine.RowMajor<double>(head.shape.tokens), t, t.size()), bound) << name;
  };
  check("y", head.y, truth.y, plain.y);
  check("dq", head.dq, truth.dq, plain.dq);
  check("dk", head.dk, truth.dk, plain.dk);
  check("dv", head.dv, truth.dv, plain.dv);
  if (head.shape.sink) {
    // A sum of terms of both signs: measured against the sum of their sizes, of which it keeps at least a thousandth.
    const double off = std::abs(head.dsink - truth.dsink), plain_off = std::abs(plain.dsink - truth.dsink);
    EXPECT_LE(off, std::max(1e-6 * std::max(std::abs(truth.dsink), 1.0), 2 * plain_off)) << "dsink";
  }
}

class AttentionShapes : public testing::TestWithParam<HeadShape> {};

TEST_P(AttentionShapes, AreAsAccurateAsPlainLoops) {
  for (const bool with_bits : {true, false}) {
    Head head(GetParam(), /*seed=*/7);
    head.Run(with_bits);
    ExpectAccurate(head, with_bits);
  }
}

TEST_P(AttentionShapes, HaveTheSameBitsInAvx2) {
  for (const bool with_bits : {true, false}) {
    Head head(GetParam(), /*seed=*/8), avx2(GetParam(), /*seed=*/8);
    head.Run(with_bits);
    const Avx2Only only;
    avx2.Run(with_bits);
    EXPECT_TRUE(SameResults(head, avx2)) << (with_bits ? "with" : "without") << " kept bits";
  }
}

TEST(Attention, HasTheRecordedBits) {
  uint64_t bits = 0;
  for (const HeadShape& shape : {HeadShape{.tokens = 200, .sink = true}, HeadShape{.channels = 7, .tokens = 70}}) {
    for (const bool with_bits : {true, false}) {
      Head head(shape, /*seed=*/12);
      head.Run(with_bits);
      for (const OwnedSeries* out : {&head.y, &head.dq, &head.dk, &head.dv}) {
        bits = testing_support::Fingerprint(out->all(), bits);
      }
    }
  }
  EXPECT_EQ(bits, 16584210848753126835u);
}

TEST_P(AttentionShapes, GiveTheSameForwardWithoutKeptBits) {
  Head with(GetParam(), /*seed=*/9), without(GetParam(), /*seed=*/9);
  AttentionForward(with.ForwardArgs(true));
  AttentionForward(without.ForwardArgs(false));
  EXPECT_TRUE(SameBits(with.y, without.y));
}

TEST_P(AttentionShapes, AgreeWithTheReferenceOnTiles) {
  Head head(GetParam(), /*seed=*/10), plain(GetParam(), /*seed=*/10);
  head.Run();
  ref::AttentionForward(plain.ForwardArgs(true));
  ref::AttentionBackward(plain.BackwardArgs(true));
  const size_t n = head.y.all().size();
  for (const auto& [mine, reference] : {std::pair(&head.y, &plain.y), std::pair(&head.dq, &plain.dq),
                                        std::pair(&head.dk, &plain.dk), std::pair(&head.dv, &plain.dv)}) {
    for (size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(mine->all()[i], reference->all()[i], 1e-4 * std::max(1.0f, std::abs(reference->all()[i]))) << i;
    }
  }
}

TEST_P(AttentionShapes, WriteOnlyTheirOwnRows) {
  Head head(GetParam(), /*seed=*/11);
  head.Run();
  const int K = head.shape.channels;
  for (OwnedSeries* out : {&head.y, &head.dq, &head.dk, &head.dv}) {
    for (size_t i = 0; i < out->all().size(); ++i) {
      const int row = static_cast<int>(i / kTileTokens % (K + 3));
      const bool own = row >= 2 && row < K + 2;
      ASSERT_TRUE(own || out->all()[i] == 1e30f) << "row " << row;
    }
  }
}

TEST_P(AttentionShapes, LeavePaddingAndUnkeptEntriesZero) {
  Head head(GetParam(), /*seed=*/12);
  head.Run();
  for (int t = 0; t < head.padded_tokens(); ++t) {
    for (int c = 0; c < head.shape.channels; ++c) {
      const bool real = t < head.shape.tokens;
      ASSERT_TRUE(real || head.y.at(c, t) == 0.0f);
      ASSERT_TRUE((real && head.Kept(head.kept_q, c, t)) || head.dq.at(c, t) == 0.0f);
      ASSERT_TRUE((real && head.Kept(head.kept_k, c, t)) || head.dk.at(c, t) == 0.0f);
      ASSERT_TRUE((real && head.Kept(head.kept_v, c, t)) || head.dv.at(c, t) == 0.0f);
    }
  }
}

// Padding far larger than any real entry, in inputs and in dy: not one bit of a real token may change.
TEST_P(AttentionShapes, KeepPaddingAway) {
  HeadShape shape = GetParam();
  Head clean(shape, /*seed=*/13);
  shape.padding = 3e37f;
  Head dirty(shape, /*seed=*/13);
  for (const bool with_bits : {true, false}) {
    clean.Run(with_bits);
    dirty.Run(with_bits);
    EXPECT_TRUE(SameResults(clean, dirty)) << (with_bits ? "with" : "without") << " kept bits";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionShapes,
    testing::Values(HeadShape{.channels = 16, .tokens = 256}, HeadShape{.channels = 16, .tokens = 256, .sink = true},
                    HeadShape{.channels = 16, .tokens = 1, .sink = true}, HeadShape{.channels = 1, .tokens = 65},
                    HeadShape{.channels = 16, .tokens = 48, .sink = true},
                    HeadShape{.channels = 16, .tokens = 64, .density = 1},
                    HeadShape{.channels = 16, .tokens = 300, .density = 0.02, .sink = true},
                    HeadShape{.channels = 7, .tokens = 129, .density = 0.5, .sink = true},
                    HeadShape{.channels = 33, .tokens = 100, .density = 0.4},
                    HeadShape{.channels = 64, .tokens = 77, .density = 0.25, .sink = true},
                    HeadShape{.channels = 256, .tokens = 70, .density = 1},
                    HeadShape{.channels = 16, .tokens = 1000, .sink = true}),
    [](const auto& info) {
      const HeadShape& s = info.param;
      return fmt::format("K{}_T{}_kept{}{}", s.channels, s.tokens, std::lround(100 * s.density), s.sink ? "_sink" : "");
    });

TEST(Attention, StaysStableWithExtremeLogits) {
  for (const float size : {30.0f, 1e3f, 1e8f, 1e15f}) {
    for (const bool sink : {false, true}) {
      SCOPED_TRACE(fmt::format("size {}", size));
      Head head({.channels = 16, .tokens = 130, .density = 0.5, .qk_size = size, .sink = sink}, /*seed=*/14);
      head.Run();
      for (const OwnedSeries* out : {&head.y, &head.dq, &head.dk, &head.dv}) {
        for (const float x : out->all()) ASSERT_TRUE(std::isfinite(x));
      }
      // Past 1e3 single roundings of a logit decide who wins; where the softmax is sharp, y is one row of v.
      if (size <= 1e3f) ExpectAccurate(head, true);
    }
  }
}

TEST(Attention, OfOneTokenIsItsValue) {
  Head head({.channels = 16, .tokens = 1, .density = 1}, /*seed=*/15);
  head.Run();
  for (int c = 0; c < 16; ++c) EXPECT_EQ(head.y.at(c, 0), head.v.at(c, 0));
}

TEST(Attention, GoesToTheSinkAlone) {
  Head head({.channels = 16, .tokens = 100, .sink = true}, /*seed=*/16);
  head.sink = 1000;
  head.Run();
  for (const OwnedSeries* out : {&head.y, &head.dq, &head.dk, &head.dv}) {
    for (int t = 0; t < 100; ++t) {
      for (int c = 0; c < 16; ++c) ASSERT_EQ(out->at(c, t), 0.0f);
    }
  }
  EXPECT_EQ(head.dsink, 0.0f);
}

TEST(Attention, ASinkFarBelowChangesNothing) {
  Head with({.channels = 16, .tokens = 100, .sink = true}, /*seed=*/17);
  Head without({.channels = 16, .tokens = 100}, /*seed=*/17);
  with.sink = -1000;
  with.Run();
  without.Run();
  EXPECT_TRUE(SameBits(with.y, without.y));
  EXPECT_EQ(with.dsink, 0.0f);
}

TEST(Attention, AddsToTheSinksGradient) {
  Head fresh({.channels = 16, .tokens = 100, .sink = true}, /*seed=*/18);
  Head again({.channels = 16, .tokens = 100, .sink = true}, /*seed=*/18);
  again.dsink = 2;
  fresh.Run();
  again.Run();
  EXPECT_NE(fresh.dsink, 0.0f);
  EXPECT_EQ(again.dsink, 2.0f + fresh.dsink);
}

// A change in token t changes no y before t, and no gradient of a loss on tokens before t.
TEST(Attention, SeesOnlyThePast) {
  const HeadShape shape = {.channels = 16, .tokens = 200, .density = 0.5, .sink = true};
  for (const int changed : {1, 15, 16, 63, 64, 100, 199}) {
    Head before(shape, /*seed=*/19), after(shape, /*seed=*/19);
    for (Head* h : {&before, &after}) {
      for (int t = changed; t < shape.tokens; ++t) {
        for (int c = 0; c < shape.channels; ++c) h->dy.at(c, t) = 0;
      }
    }
    for (int c = 0; c < shape.channels; ++c) {
      for (OwnedSeries* x : {&after.q, &after.k, &after.v}) x->at(c, changed) *= -3;
    }
    before.Run();
    after.Run();
    for (int t = 0; t < shape.tokens; ++t) {
      for (int c = 0; c < shape.channels; ++c) {
        ASSERT_TRUE(t >= changed || before.y.at(c, t) == after.y.at(c, t)) << "y of " << t << ", changed " << changed;
        for (const auto& [a, b] :
             {std::pair(&before.dq, &after.dq), std::pair(&before.dk, &after.dk), std::pair(&before.dv, &after.dv)}) {
          ASSERT_EQ(a->at(c, t), b->at(c, t)) << "gradient of " << t << ", changed " << changed;
          ASSERT_TRUE(t < changed || b->at(c, t) == 0.0f);
        }
      }
    }
  }
}

TEST(Attention, GivesKeptZerosTheirGradient) {
  Head head({.channels = 16, .tokens = 90, .sink = true}, /*seed=*/20);
  for (int t = 0; t < 90; ++t) {
    for (int c = 0; c < 16; ++c) {
      for (OwnedSeries* x : {&head.q, &head.k, &head.v}) {
        if ((t + c) % 3 == 0) x->at(c, t) = 0;
      }
    }
  }
  head.Run();
  ExpectAccurate(head, true);
  int kept_zeros = 0;
  for (int t = 2; t < 89; ++t) {
    for (int c = 0; c < 16; ++c) {
      if (!head.Kept(head.kept_v, c, t) || head.v.at(c, t) != 0) continue;
      ++kept_zeros;
      EXPECT_NE(head.dv.at(c, t), 0.0f) << c << ", " << t;
    }
  }
  EXPECT_GT(kept_zeros, 50);
}

TEST(AttentionDeathTest, RefusesWhatTheContractExcludes) {
  Head head({.channels = 16, .tokens = 10}, /*seed=*/21);
  AttentionForwardArgs no_tokens = head.ForwardArgs(true);
  no_tokens.tokens = 0;
  EXPECT_DEATH(AttentionForward(no_tokens), "tokens = 0");
  AttentionForwardArgs narrow = head.ForwardArgs(true);
  narrow.v.channels = 15;
  EXPECT_DEATH(AttentionForward(narrow), "v 15");
  AttentionBackwardArgs no_place = head.BackwardArgs(true);
  no_place.sink = &head.sink;
  EXPECT_DEATH(AttentionBackward(no_place), "a sink without a place");
}

}  // namespace
}  // namespace filigree::kernels
