#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/abs_topk/tail.h"
#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "kernels/base/simd_targets.h"
#include "kernels/base/trace.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/abs_topk/abs_topk_simd.cc"
#include "hwy/foreach_target.h"
// Once per target, hence below foreach_target.h.
#include "kernels/abs_topk/group-inl.h"
#include "kernels/abs_topk/keys-inl.h"
#include "kernels/abs_topk/lanes-inl.h"
#include "kernels/abs_topk/search-inl.h"

#include "hwy/highway.h"

#ifndef FILIGREE_KERNELS_ABS_TOPK_ABS_TOPK_SIMD_CC_ONCE_
#define FILIGREE_KERNELS_ABS_TOPK_ABS_TOPK_SIMD_CC_ONCE_
namespace filigree::kernels {
namespace {

constexpr double kOctaveBits = 1 << 23;

// What a few rows tell about a tile.
struct Sample {
  int64_t nonzeros = 0, size = 0;
  int64_t mean_bits = 0;  // of the nonzeros; as far as bits are logarithms, the mean of the logarithms
};

Sample TakeSample(ConstTile x) {
  constexpr int kRows = 16;
  const int rows = std::min(kRows, x.channels);
  Sample sample;
  uint64_t sum = 0;
  for (int i = 0; i < rows; ++i) {
    const float* row = x.row(static_cast<int>(static_cast<int64_t>(i) * x.channels / rows));
    uint32_t row_sum = 0, nonzeros = 0;  // of bits / 64, so that 64 of them fit
    for (int t = 0; t < kTileTokens; ++t) {
      const uint32_t bits = std::bit_cast<uint32_t>(row[t]) & 0x7fffffffu;
      row_sum += bits >> 6;
      nonzeros += bits != 0;
    }
    sum += row_sum;
    sample.nonzeros += nonzeros;
  }
  sample.size = rows * kTileTokens;
  sample.mean_bits = static_cast<int64_t>(sum << 6) / std::max(sample.nonzeros, int64_t{1});
  return sample;
}

// Octaves from the mean of the sample to the thresholds, as bits have them: linear between powers of two.
double ExpectedOctaves(const Sample& sample, double kept_share, const float* guess) {
  constexpr float kMostOctaves = 64;
  if (guess != nullptr && *guess != 0 && std::abs(*guess) <= kMostOctaves) return *guess;
  // As if the nonzeros were normal draws, whose logarithms have the mean log2(sd) - 0.92; by their bits it is -0.86.
  constexpr double kMeanOctave = -0.86;
  const double share = kept_share * static_cast<double>(sample.size) / static_cast<double>(sample.nonzeros + 1);
  return TailOctaves()[static_cast<int>(std::min(share, 1.0) * kTailEntries)] - kMeanOctave;
}

// The bits of a magnitude near which the thresholds are to be looked for.
int32_t ExpectedBits(const Sample& sample, double octaves) {
  const double bits = static_cast<double>(sample.mean_bits) + octaves * kOctaveBits;
  return static_cast<int32_t>(std::clamp(bits, 0.0, static_cast<double>(0x7f7fffff)));
}

int16_t* KeyScratch(size_t size) {
  thread_local Buffer<int16_t> keys;
  if (keys.size() < size) keys = Buffer<int16_t>(size);
  return keys.data();
}

}  // namespace
}  // namespace filigree::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace {

constexpr int kRowVectors = kTileTokens / kFloatLanes;

// Keys this far from the expected one are the first two trials: 9 % in magnitude. Most thresholds lie between.
constexpr int kFirstTrial = 512;

HWY_INLINE void StoreKept(const float* x, uint64_t word, float* y) {
  const DF d;
  for (int j = 0; j < kRowVectors; ++j) {
    const uint64_t bits = word >> (j * kFloatLanes);
    const auto keep = hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&bits));
    hn::Store(hn::IfThenElseZero(keep, hn::Load(d, x + j * kFloatLanes)), d, y + j * kFloatLanes);
  }
}

// y and kept by the rules of the groups.
template <bool kTies>
HWY_INLINE void Write(ConstTile x, const int16_t* keys, const Rule* rules, Tile y, uint64_t* kept) {
  const size_t group_size = static_cast<size_t>(x.channels) * kGroupTokens;
  Keys bound[kGroups], tie[kGroups], ties[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    bound[g] = LoadKeys(rules[g].bound);
    tie[g] = LoadKeys(rules[g].tie);
    ties[g] = LoadKeys(rules[g].ties);
  }
  for (int c = 0; c < x.channels; ++c, keys += kGroupTokens) {
    uint64_t word = 0;
    for (int g = 0; g < kGroups; ++g) {
      const Keys key = LoadKeys(keys + g * group_size);
      uint32_t bits = BitsGreater(key, bound[g]);
      if constexpr (kTies) bits |= TakeTies(key, tie[g], ties[g]);
      word |= static_cast<uint64_t>(bits) << (g * kGroupTokens);
    }
    kept[c] = word;
    StoreKept(x.row(c), word, y.row(c));
  }
}

// Octaves from the mean of the sample to the thresholds of the tokens that have one.
float NextGuess(const Rule* rules, const Sample& sample) {
  int64_t sum = 0, count = 0;
  for (int g = 0; g < kGroups; ++g) {
    for (const int64_t bits : rules[g].magnitude_bits) {
      sum += bits;
      count += bits != 0;
    }
  }
  if (count == 0 || sample.nonzeros == 0) return 0;
  const int64_t drift = sum / count - sample.mean_bits;  // whole bits: a guess needs no more
  return static_cast<float>(static_cast<double>(drift) / kOctaveBits);
}

HWY_INLINE void TakeFirstTrials(const FirstTrials& first, int group, int k, Brackets& b) {
  Trial trial;
  const auto take = [&](const int16_t* counts, int bound) HWY_ATTR {
    std::copy_n(counts + group * kGroupTokens, kGroupTokens, trial.count);
    std::fill_n(trial.threshold, kGroupTokens, static_cast<float>(bound + 1));
    Narrow(trial, k, b);
  };
  take(first.above_low, -kFirstTrial);
  take(first.above_high, kFirstTrial);
}

void Forward(ConstTile x, int k, Tile y, uint64_t* kept, float* guess) {
  const size_t group_size = static_cast<size_t>(x.channels) * kGroupTokens;
  int16_t* keys = KeyScratch(group_size * kGroups);
  thread_local std::vector<Extra> extra;
  extra.clear();

  const Sample sample = TakeSample(x);
  const int32_t base = ExpectedBits(sample, ExpectedOctaves(sample, static_cast<double>(k) / x.channels, guess));
  const Zeros zeros = sample.nonzeros * 8 < sample.size * 7 ? Zeros::kOwnKey : Zeros::kShareKey;
  FirstTrials first;
  if (zeros == Zeros::kOwnKey) {
    MakeNearKeys<Zeros::kOwnKey>(x, base, -kFirstTrial, kFirstTrial, keys, first);
  } else {
    MakeNearKeys<Zeros::kShareKey>(x, base, -kFirstTrial, kFirstTrial, keys, first);
  }
  Rule rules[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    Brackets brackets;
    brackets.Reset(x.channels);
    TakeFirstTrials(first, g, k, brackets);
    SelectGroup(x, k, g, base, zeros, keys + g * group_size, brackets, rules[g], extra);
  }
  if (guess != nullptr) *guess = NextGuess(rules, sample);

  if (rules[0].any_ties || rules[1].any_ties) {
    Write<true>(x, keys, rules, y, kept);
  } else {
    Write<false>(x, keys, rules, y, kept);
  }
  for (const Extra& e : extra) {
    y.at(e.channel, e.token) = e.value;
    kept[e.channel] |= uint64_t{1} << e.token;
  }
}

void Backward(ConstTile dy, const uint64_t* kept, Tile dx) {
  for (int c = 0; c < dy.channels; ++c) StoreKept(dy.row(c), kept[c], dx.row(c));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace filigree::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

void AbsTopK(ConstTile x, int k, Tile y, uint64_t* kept, float* guess) {
  CHECK(x.channels == y.channels && x.channels <= 32768, "x has {} channels, y {}", x.channels, y.channels);
  CHECK(1 <= k && k <= x.channels, "k = {} of {} channels", k, x.channels);
  const TraceSpan span("abs_topk", [&] { return TraceWork{.bytes = 8.0 * static_cast<double>(x.size())}; });
  if (k == x.channels) {
    if (y.data != x.data) std::memcpy(y.data, x.data, x.size() * sizeof(float));
    std::fill_n(kept, x.channels, ~uint64_t{0});
    return;
  }
  HWY_DYNAMIC_DISPATCH(Forward)(x, k, y, kept, guess);
}

void AbsTopKBackward(ConstTile dy, const uint64_t* kept, Tile dx) {
  CHECK(dy.channels == dx.channels, "dy has {} channels, dx {}", dy.channels, dx.channels);
  const TraceSpan span("abs_topk.backward", [&] { return TraceWork{.bytes = 8.0 * static_cast<double>(dx.size())}; });
  HWY_DYNAMIC_DISPATCH(Backward)(dy, kept, dx);
}

}  // namespace filigree::kernels
#endif  // HWY_ONCE
