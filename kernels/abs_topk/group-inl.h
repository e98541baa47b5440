// What to keep of 32 tokens, for Highway: included by abs_topk_simd.cc, compiled once per target.
#if defined(FILIGREE_KERNELS_ABS_TOPK_GROUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ABS_TOPK_GROUP_INL_H_
#undef FILIGREE_KERNELS_ABS_TOPK_GROUP_INL_H_
#else
#define FILIGREE_KERNELS_ABS_TOPK_GROUP_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/abs_topk/keys-inl.h"
#include "kernels/abs_topk/lanes-inl.h"
#include "kernels/abs_topk/search-inl.h"
#include "kernels/base/tile.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {

// Kept are all keys > bound, and the first `ties` keys == tie.
struct Rule {
  alignas(64) int16_t bound[kGroupTokens], tie[kGroupTokens], ties[kGroupTokens];
  bool any_ties = false;
  int64_t magnitude_bits[kGroupTokens];  // about the k-th magnitude, 0 where that is zero
};

// An entry to keep beside what the rule keeps.
struct Extra {
  int channel, token;
  float value;
};

// Lanes left over by the search, and those whose last key holds several entries, are finished on their magnitudes if
// these are few. One entry costs as much as counting eight rows.
constexpr int kMaxFew = 64;
constexpr Patience LeaveFew(int channels) { return {32.0f, static_cast<float>(channels) / 16}; }

// The entries whose keys lie inside the brackets of some lanes.
class Few {
 public:
  HWY_INLINE void Collect(const int16_t* keys, int channels, const Brackets& b, uint32_t lanes) {
    alignas(64) int16_t first[kGroupTokens], last[kGroupTokens];
    for (int t = 0; t < kGroupTokens; ++t) {
      const bool wanted = lanes >> t & 1;
      size_[t] = 0;
      first[t] = static_cast<int16_t>(wanted ? b.low[t] : kEndKey - 1);
      last[t] = static_cast<int16_t>(wanted ? b.high[t] - 1 : kLowestKey);
    }
    const Keys low = LoadKeys(first), top = LoadKeys(last);
    for (int c = 0; c < channels; ++c, keys += kGroupTokens) {
      const Keys key = LoadKeys(keys);
      for (uint32_t bits = ~(BitsGreater(low, key) | BitsGreater(key, top)); bits != 0; bits &= bits - 1) {
        const int t = std::countr_zero(bits);
        channel_[t][size_[t]++] = static_cast<uint16_t>(c);
      }
    }
  }

  // Appends the `wanted` largest of token t's to `extra`.
  void KeepLargest(ConstTile x, int group, int t, int wanted, std::vector<Extra>& extra) {
    const int token = group * kGroupTokens + t, n = size_[t];
    uint64_t order[kMaxFew];  // magnitude descending, channel ascending
    for (int i = 0; i < n; ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(x.at(channel_[t][i], token)) & 0x7fffffffu;
      order[i] = static_cast<uint64_t>(0x7fffffffu - bits) << 32 | channel_[t][i];
    }
    std::partial_sort(order, order + wanted, order + n);
    for (int i = 0; i < wanted; ++i) {
      const int channel = static_cast<int>(order[i] & 0xffff);
      extra.push_back({channel, token, x.at(channel, token)});
    }
  }

 private:
  int size_[kGroupTokens];
  uint16_t channel_[kGroupTokens][kMaxFew];
};

// True if in every lane of `lanes` all entries with the key `low` have the same magnitude.
HWY_INLINE bool AllEqualInside(ConstTile x, int group, const int16_t* keys, const Brackets& b, uint32_t lanes) {
  const DI d;
  const hn::Rebind<int16_t, DI> narrow;
  alignas(64) int16_t key[kGroupTokens];
  for (int t = 0; t < kGroupTokens; ++t) key[t] = static_cast<int16_t>(b.low[t]);
  for (int i = 0; i < kFloatVectors; ++i) {
    const int at = i * kFloatLanes;
    const VI wanted = hn::PromoteTo(d, hn::Load(narrow, key + at));
    VI smallest = hn::Set(d, 0x7fffffff), largest = hn::Zero(d);
    for (int c = 0; c < x.channels; ++c) {
      const VI bits = MagnitudeBits(hn::Load(DF(), x.row(c) + group * kGroupTokens + at));
      const auto inside = hn::Eq(hn::PromoteTo(d, hn::Load(narrow, keys + c * kGroupTokens + at)), wanted);
      smallest = hn::Min(smallest, hn::IfThenElse(inside, bits, smallest));
      largest = hn::Max(largest, hn::IfThenElseZero(inside, bits));
    }
    alignas(64) int32_t least[kFloatLanes], most[kFloatLanes];
    hn::Store(smallest, d, least);
    hn::Store(largest, d, most);
    for (int t = 0; t < kFloatLanes; ++t) {
      if ((lanes >> (at + t) & 1) && least[t] < most[t]) return false;
    }
  }
  return true;
}

// The trial that settles tokens with fewer than k nonzeros, and how many entries matter in the others.
HWY_INLINE void CountNonzeros(const int16_t* keys, int channels, int k, Brackets& b) {
  Trial trial;
  std::fill_n(trial.threshold, kGroupTokens, kLowestKey + 1);
  CountTrial(keys, channels, trial);
  Narrow(trial, k, b);
  for (int t = 0; t < kGroupTokens; ++t) b.population[t] = static_cast<uint16_t>(trial.count[t]);
}

// One rule for all magnitudes, in two radix passes; only for inputs that the near keys do not tell apart. Overwrites
// the keys of the group.
static HWY_NOINLINE void SelectByRadix(ConstTile x, int k, int group, int16_t* keys, Rule& rule) {
  Brackets b;
  b.Reset(x.channels);
  MakeUpperKeys(x, group, keys);
  Search(keys, x.channels, k, kUpperOctave, Patience{}, b);

  alignas(64) int32_t upper[kGroupTokens];
  for (int t = 0; t < kGroupTokens; ++t) {
    upper[t] = static_cast<int32_t>(b.low[t]) + kUpperBias;
    // The same counts in lower keys. A lane that is done keeps everything from its upper key on.
    b.low[t] = -kLowerBias;
    b.high[t] = b.low_count[t] == static_cast<float>(k) ? kEndKey : kLowerBias;
    if (b.high[t] == kEndKey) b.high_count[t] = 0;
  }
  MakeLowerKeys(x, group, upper, keys);
  Search(keys, x.channels, k, kUpperOctave, Patience{}, b);

  for (int t = 0; t < kGroupTokens; ++t) {
    const bool done = b.low_count[t] == static_cast<float>(k);
    rule.bound[t] = static_cast<int16_t>(done ? b.low[t] - 1 : b.high[t] - 1);
    rule.tie[t] = static_cast<int16_t>(b.low[t]);
    rule.ties[t] = static_cast<int16_t>(done ? 0 : k - static_cast<int>(b.high_count[t]));
    rule.any_ties |= !done;
    rule.magnitude_bits[t] = (int64_t{upper[t]} << kUpperShift) + static_cast<int64_t>(b.low[t]) + kLowerBias;
  }
}

// The rule for the tokens of a group whose near keys are made and whose brackets hold the first trials.
HWY_INLINE void SelectGroup(ConstTile x, int k, int group, int32_t base, Zeros zeros, int16_t* keys, Brackets& b,
                            Rule& rule, std::vector<Extra>& extra) {
  if (zeros == Zeros::kOwnKey) CountNonzeros(keys, x.channels, k, b);
  Search(keys, x.channels, k, kNearOctave, LeaveFew(x.channels), b);
  uint32_t few = 0, many = 0, only_zeros = 0;
  rule.any_ties = false;
  for (int t = 0; t < kGroupTokens; ++t) {
    const bool done = b.low_count[t] == static_cast<float>(k);
    const bool is_few = !done && b.Span(t) <= kMaxFew;
    few |= static_cast<uint32_t>(is_few) << t;
    many |= static_cast<uint32_t>(!done && !is_few) << t;
    only_zeros |= static_cast<uint32_t>(zeros == Zeros::kOwnKey && b.low[t] == kLowestKey) << t;
    rule.bound[t] = static_cast<int16_t>(done ? b.low[t] - 1 : b.high[t] - 1);
    rule.tie[t] = static_cast<int16_t>(b.low[t]);
    rule.ties[t] = static_cast<int16_t>(done || is_few ? 0 : k - static_cast<int>(b.high_count[t]));
    rule.magnitude_bits[t] = b.low[t] > kLowestKey ? std::max(NearKeyBits(base, b.low[t]), int64_t{0}) : 0;
  }
  if (many != 0) {
    const uint32_t doubtful = many & ~only_zeros;
    if (doubtful != 0 && !AllEqualInside(x, group, keys, b, doubtful)) return SelectByRadix(x, k, group, keys, rule);
    rule.any_ties = true;
  }
  if (few == 0) return;
  Few entries;
  entries.Collect(keys, x.channels, b, few);
  for (; few != 0; few &= few - 1) {
    const int t = std::countr_zero(few);
    entries.KeepLargest(x, group, t, k - static_cast<int>(b.high_count[t]), extra);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ABS_TOPK_GROUP_INL_H_
