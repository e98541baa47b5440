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
#include "kernels/abs_topk/tail.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {

constexpr float kLowestKey = -32768, kEndKey = 32768;  // keys lie in [kLowestKey, kEndKey)

// What is known of each lane: count(key >= low) = low_count >= k > high_count = count(key >= high), low < high.
struct Brackets {
  alignas(64) float low[kGroupTokens], low_count[kGroupTokens];
  alignas(64) float high[kGroupTokens], high_count[kGroupTokens];
  alignas(64) float population[kGroupTokens];  // entries that matter: all, or the nonzero ones where these are counted

  void Reset(int channels) {
    std::fill_n(low, kGroupTokens, kLowestKey);
    std::fill_n(low_count, kGroupTokens, static_cast<float>(channels));
    std::fill_n(high, kGroupTokens, kEndKey);
    std::fill_n(high_count, kGroupTokens, 0.0f);
    std::fill_n(population, kGroupTokens, static_cast<float>(channels));
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

// Lanes that are not done: whose count(key >= low) is not k and whose bracket holds more than one key.
struct Open {
  float widest = 0, total = 0;  // keys inside their brackets: the most in one lane, and of all
};

// One vector of lanes.
struct Lanes {
  VF low, high, surplus, deficit;  // surplus = low_count - k, deficit = k - high_count
};

// The standard error, in entries, of what interpolation between the ends expects.
HWY_INLINE VF Noise(const Lanes& l) {
  return hn::Sqrt(hn::Div(hn::Mul(l.surplus, l.deficit), hn::Add(l.surplus, l.deficit)));
}

// Between two ends: from the one whose count is closer to k, d entries away, a step of d + noise. So the threshold is
// behind the trial five times in six, and the bracket shrinks from its far end.
HWY_INLINE VF Interpolate(const Lanes& l) {
  const DF d;
  const VF entries = hn::Add(hn::Add(hn::Min(l.surplus, l.deficit), Noise(l)), hn::Set(d, 0.5f));
  const VF span = hn::Add(hn::Add(l.surplus, l.deficit), hn::Set(d, 1.0f));
  const VF step = hn::Div(hn::Mul(entries, hn::Sub(l.high, l.low)), span);
  return hn::IfThenElse(hn::Le(l.surplus, l.deficit), hn::Add(l.low, step), hn::Sub(l.high, step));
}

// octave * log2 of the magnitude that `count` of `population` normal draws exceed.
HWY_INLINE VF TailKeys(VF count, VF population, float octave) {
  const DF d;
  const VF entry = hn::Mul(hn::Div(count, population), hn::Set(d, static_cast<float>(kTailEntries)));
  const VI index = hn::Max(hn::Zero(DI()), hn::Min(hn::Set(DI(), kTailEntries), hn::NearestInt(entry)));
  return hn::Mul(hn::GatherIndex(d, TailOctaves(), index), hn::Set(d, octave));
}

// From the only end that is known, as far as it would be among normal draws, and a little further.
HWY_INLINE VF Jump(const Lanes& l, VF wanted, VF population, float octave, float reach) {
  const DF d;
  const auto upwards = hn::Ge(l.high, hn::Set(d, kEndKey - 1));
  const VF from = hn::IfThenElse(upwards, l.low, l.high);
  const VF distance = hn::IfThenElse(upwards, l.surplus, hn::Neg(l.deficit));
  const VF beyond = hn::CopySign(hn::Sqrt(hn::Abs(distance)), distance);
  const VF at = TailKeys(hn::Add(wanted, distance), population, octave);
  const VF to = TailKeys(hn::Sub(wanted, beyond), population, octave);
  return hn::MulAdd(hn::Sub(to, at), hn::Set(d, reach), from);
}

// Keys of a search: how many an octave has where it has to jump, and the reach of the jump, 1 at first.
struct Stride {
  float octave = 0, reach = 1;
};

HWY_INLINE Open NextTrial(const Brackets& b, int k, Step step, Stride stride, Trial& trial) {
  const DF d;
  const VF wanted = hn::Set(d, static_cast<float>(k)), one = hn::Set(d, 1.0f);
  const VF lowest_trial = hn::Set(d, kLowestKey + 1), end_trial = hn::Set(d, kEndKey - 1);
  VF widest = hn::Zero(d), total = hn::Zero(d);
  for (int i = 0; i < kFloatVectors; ++i) {
    const int at = i * kFloatLanes;
    const Lanes l = {hn::Load(d, b.low + at), hn::Load(d, b.high + at), hn::Sub(hn::Load(d, b.low_count + at), wanted),
                     hn::Sub(wanted, hn::Load(d, b.high_count + at))};
    const auto is_open = hn::And(hn::Gt(hn::Sub(l.high, l.low), one), hn::Gt(l.surplus, hn::Zero(d)));
    const VF span = hn::IfThenElseZero(is_open, hn::Add(l.surplus, l.deficit));
    widest = hn::Max(widest, span);
    total = hn::Add(total, span);

    VF next = hn::MulAdd(hn::Sub(l.high, l.low), hn::Set(d, 0.5f), l.low);
    if (step == Step::kInterpolate) {
      next = Interpolate(l);
      // The ends of the range, and the trial that counts nonzeros, say nothing about the density elsewhere.
      const auto one_end = hn::Or(hn::Le(l.low, lowest_trial), hn::Ge(l.high, end_trial));
      if (!hn::AllFalse(d, hn::And(one_end, is_open))) {
        const VF population = hn::Load(d, b.population + at);
        next = hn::IfThenElse(one_end, Jump(l, wanted, population, stride.octave, stride.reach), next);
      }
    }
    next = hn::Round(hn::Max(hn::Add(l.low, one), hn::Min(hn::Sub(l.high, one), next)));
    // Lanes that are done repeat a trial whose answer is known.
    hn::Store(hn::IfThenElse(is_open, next, hn::Max(l.low, lowest_trial)), d, trial.threshold + at);
  }
  // Whole numbers below 2^24: the order of the sum does not matter.
  return {hn::GetLane(hn::MaxOfLanes(d, widest)), hn::GetLane(hn::SumOfLanes(d, total))};
}

// When to stop: with few entries inside the brackets that are left.
struct Patience {
  float widest = 0, total = 0;
};

// Narrows all brackets until every lane is done, up to what `patience` lets be left over.
// octave: keys an octave of magnitude has.
HWY_INLINE void Search(const int16_t* keys, int channels, int k, float octave, Patience patience, Brackets& b) {
  constexpr float kProgress = 0.75f, kGrowth = 2.0f;
  Trial trial;
  float last_total = static_cast<float>(channels) * kGroupTokens * 2;
  for (Stride stride = {octave};; stride.reach *= kGrowth) {
    Open open = NextTrial(b, k, Step::kInterpolate, stride, trial);
    if (open.widest <= patience.widest && open.total <= patience.total) return;
    if (open.total > kProgress * last_total) {
      // Rounded or repeated values: interpolation between clusters leads nowhere.
      Tighten(keys, channels, b);
      open = NextTrial(b, k, Step::kHalve, stride, trial);
    }
    last_total = open.total;
    CountTrial(keys, channels, trial);
    Narrow(trial, k, b);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ABS_TOPK_SEARCH_INL_H_
