// The k-th largest of 32 columns of 16-bit keys at once, for Highway: included by abs_topk_simd.cc, compiled once per
// target.
//
// A lane is a token. Every pass counts, for each lane, the keys at or above that lane's own trial threshold, so a pass
// is two instructions a vector and nothing is ever moved between lanes. All arithmetic is lane by lane: AVX2 and
// AVX-512 try the same thresholds.
#if defined(FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_
#undef FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_
#else
#define FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "kernels/abs_topk/lanes-inl.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {

constexpr float kLowestKey = -32768, kEndKey = 32768;  // keys lie in [kLowestKey, kEndKey)

// What is known of each lane: count(key >= low) = low_count >= k > high_count = count(key >= high), low < high.
struct Brackets {
  alignas(64) float low[kGroupTokens], low_count[kGroupTokens];
  alignas(64) float high[kGroupTokens], high_count[kGroupTokens];

  void Reset(int channels) {
    std::fill_n(low, kGroupTokens, kLowestKey);
    std::fill_n(low_count, kGroupTokens, static_cast<float>(channels));
    std::fill_n(high, kGroupTokens, kEndKey);
    std::fill_n(high_count, kGroupTokens, 0.0f);
  }
  float Span(int lane) const { return low_count[lane] - high_count[lane]; }
};

struct Trial {
  alignas(64) float threshold[kGroupTokens];
  alignas(64) int16_t count[kGroupTokens];  // unsigned, of keys >= threshold
};

// count(key >= threshold) for thresholds in (kLowestKey, kEndKey].
HWY_INLINE void CountTrial(const int16_t* keys, int channels, Trial& trial) {
  alignas(64) int16_t bound[kGroupTokens];
  for (int t = 0; t < kGroupTokens; ++t) bound[t] = static_cast<int16_t>(static_cast<int>(trial.threshold[t]) - 1);
  const Keys greatest_below = LoadKeys(bound);
  Keys even = SetKeys(0), odd = SetKeys(0);
  int c = 0;
  for (; c + 4 <= channels; c += 4, keys += 4 * kGroupTokens) {
    AddGreater(LoadKeys(keys), greatest_below, even);
    AddGreater(LoadKeys(keys + kGroupTokens), greatest_below, odd);
    AddGreater(LoadKeys(keys + 2 * kGroupTokens), greatest_below, even);
    AddGreater(LoadKeys(keys + 3 * kGroupTokens), greatest_below, odd);
  }
  for (; c < channels; ++c, keys += kGroupTokens) AddGreater(LoadKeys(keys), greatest_below, even);
  for (int i = 0; i < kKeyVectors; ++i) even.v[i] = hn::Add(even.v[i], odd.v[i]);
  StoreKeys(even, trial.count);
}

HWY_INLINE VF CountsOf(const Trial& trial, int vector) {
  const hn::Rebind<uint16_t, DI> narrow;
  const auto counts = hn::Load(narrow, reinterpret_cast<const uint16_t*>(trial.count) + vector * kFloatLanes);
  return hn::ConvertTo(DF(), hn::PromoteTo(DI(), counts));
}

// Takes what a trial found into the brackets. Trials outside a bracket (a lane already narrower) change nothing.
HWY_INLINE void Narrow(const Trial& trial, int k, Brackets& b) {
  const DF d;
  const VF wanted = hn::Set(d, static_cast<float>(k));
  for (int i = 0; i < kFloatVectors; ++i) {
    const int at = i * kFloatLanes;
    const VF threshold = hn::Load(d, trial.threshold + at), count = CountsOf(trial, i);
    const VF low = hn::Load(d, b.low + at), high = hn::Load(d, b.high + at);
    const auto enough = hn::Ge(count, wanted);
    const auto raise = hn::And(enough, hn::Gt(threshold, low));
    const auto lower = hn::AndNot(enough, hn::Lt(threshold, high));
    hn::Store(hn::IfThenElse(raise, threshold, low), d, b.low + at);
    hn::Store(hn::IfThenElse(raise, count, hn::Load(d, b.low_count + at)), d, b.low_count + at);
    hn::Store(hn::IfThenElse(lower, threshold, high), d, b.high + at);
    hn::Store(hn::IfThenElse(lower, count, hn::Load(d, b.high_count + at)), d, b.high_count + at);
  }
}

// Moves both ends of every bracket onto keys that occur: low onto the smallest key inside, high just past the largest.
// Rounded or repeated values leave a lane few distinct keys, which halving alone would take long to isolate.
HWY_INLINE void Tighten(const int16_t* keys, int channels, Brackets& b) {
  alignas(64) int16_t first[kGroupTokens], last[kGroupTokens];
  for (int t = 0; t < kGroupTokens; ++t) {
    first[t] = static_cast<int16_t>(b.low[t]);
    last[t] = static_cast<int16_t>(b.high[t] - 1);
  }
  const Keys low = LoadKeys(first), top = LoadKeys(last);
  Keys smallest = top, largest = low;
  for (int c = 0; c < channels; ++c, keys += kGroupTokens) {
    const Keys key = LoadKeys(keys);
    for (int i = 0; i < kKeyVectors; ++i) {
      smallest.v[i] = hn::Min(smallest.v[i], hn::IfThenElse(hn::Lt(key.v[i], low.v[i]), top.v[i], key.v[i]));
      largest.v[i] = hn::Max(largest.v[i], hn::IfThenElse(hn::Gt(key.v[i], top.v[i]), low.v[i], key.v[i]));
    }
  }
  StoreKeys(smallest, first);
  StoreKeys(largest, last);
  for (int t = 0; t < kGroupTokens; ++t) {
    b.low[t] = first[t];
    b.high[t] = static_cast<float>(last[t]) + 1;
  }
}

// How a lane looks for its threshold next.
enum class Step { kInterpolate, kHalve };

// A lane is done once count(key >= low) = k or its bracket holds a single key. Chooses the trial of the others; returns
// how many lanes are not done, `widest` the largest number of keys inside one of their brackets.
HWY_INLINE int NextTrial(const Brackets& b, int k, const float* keys_per_count, Step step, Trial& trial,
                         float& widest) {
  const DF d;
  const VF wanted = hn::Set(d, static_cast<float>(k)), one = hn::Set(d, 1.0f);
  const VF lowest = hn::Set(d, kLowestKey), end = hn::Set(d, kEndKey);
  // A lane that expects its threshold further down than this suspects too few nonzeros: it asks for their number at
  // once.
  const VF suspicious = hn::Set(d, -12288.0f), lowest_trial = hn::Set(d, kLowestKey + 1);
  VF widest_span = hn::Zero(d);
  int open = 0;
  for (int i = 0; i < kFloatVectors; ++i) {
    const int at = i * kFloatLanes;
    const VF low = hn::Load(d, b.low + at), low_count = hn::Load(d, b.low_count + at);
    const VF high = hn::Load(d, b.high + at), high_count = hn::Load(d, b.high_count + at);
    const VF width = hn::Sub(high, low), span = hn::Sub(low_count, high_count);
    const VF surplus = hn::Sub(low_count, wanted), deficit = hn::Sub(wanted, high_count);

    const auto is_open = hn::And(hn::Gt(width, one), hn::Gt(surplus, hn::Zero(d)));
    open += static_cast<int>(hn::CountTrue(d, is_open));
    widest_span = hn::Max(widest_span, hn::IfThenElseZero(is_open, span));

    VF next = hn::MulAdd(width, hn::Set(d, 0.5f), low);
    if (step == Step::kInterpolate) {
      const VF slope = hn::Load(d, keys_per_count + at);
      const VF from_low = hn::MulAdd(surplus, slope, low), from_high = hn::NegMulAdd(deficit, slope, high);
      next = hn::MulAdd(width, hn::Div(surplus, span), low);
      next = hn::IfThenElse(hn::Eq(high, end), from_low, next);
      const VF downwards = hn::IfThenElse(hn::Lt(from_high, suspicious), lowest_trial, from_high);
      next = hn::IfThenElse(hn::Eq(low, lowest), downwards, next);
    }
    next = hn::Round(hn::Max(hn::Add(low, one), hn::Min(hn::Sub(high, one), next)));
    // Lanes that are done repeat a trial whose answer is known.
    hn::Store(hn::IfThenElse(is_open, next, hn::Max(low, lowest_trial)), d, trial.threshold + at);
  }
  widest = hn::GetLane(hn::MaxOfLanes(d, widest_span));
  return open;
}

// When to stop: with at most `open_lanes` not done, whose brackets hold at most `span` keys.
struct Patience {
  int open_lanes = 0;
  float span = 0;
};

// Narrows all brackets until every lane is done, up to what `patience` lets be left over.
// keys_per_count: 1 / density of keys near the threshold, for lanes that have one end of the bracket only.
HWY_INLINE void Search(const int16_t* keys, int channels, int k, const float* keys_per_count, Patience patience,
                       Brackets& b) {
  constexpr int kInterpolations = 7;  // then the keys are odd: halve, and leave out what does not occur
  Trial trial;
  for (int pass = 0;; ++pass) {
    if (pass >= kInterpolations) Tighten(keys, channels, b);
    float widest = 0;
    const Step step = pass < kInterpolations ? Step::kInterpolate : Step::kHalve;
    const int open = NextTrial(b, k, keys_per_count, step, trial, widest);
    if (open == 0 || (open <= patience.open_lanes && widest <= patience.span)) return;
    CountTrial(keys, channels, trial);
    Narrow(trial, k, b);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_
