#include "kernels/candidate_topk/candidate_topk.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/candidate_topk/poor_units.h"
#include "kernels/weight_topk/scan.h"

// With T the least entry that step 2 keeps, the mask is everything >= T and, of units with fewer than min_alive there,
// the largest others. So: keep what lies above a window around the guess, fill the units that are poor, and let the
// entries inside the window compete for what is left of k. Where these cannot decide, T lies above the window or below.

namespace filigree::kernels {

struct CandidateScan::Shared {
  std::mutex mutex;
  int64_t read = 0;
  std::vector<Entry> entries;  // inside the window
};

void CandidateScan::Deleter::operator()(Shared* shared) const { delete shared; }

// The entries inside the window, null where the scan is not of all of the matrix.
struct ScanAccess {
  static const std::vector<Entry>* EntriesOf(const CandidateScan* scan) {
    const bool whole = scan != nullptr && scan->shared_ != nullptr && scan->shared_->read == scan->nnz_;
    return whole ? &scan->shared_->entries : nullptr;
  }
};

namespace {

constexpr int32_t kMostBits = 0x7fffffff;
constexpr float kFirstSpread = 1.0f / 32, kLeastSpread = 1.0f / 512, kMostSpread = 0.25f;

struct Problem {
  const PatternView& pattern;
  const float* w;
  const CandidateSelection& selection;
  int64_t nnz, by_rank;  // by_rank: entries that step 2 keeps; where it matters whether it is 0, exact

  int64_t words() const { return (nnz + 63) / 64; }
};

enum class Outcome { kDone, kHigher, kLower };  // or where the threshold lies

// kept: bits > above. Gives the others with bits > below (or all others).
struct Windowed {
  int32_t above = 0, below = -1;
  std::vector<Entry>& entries;
};

// The window around a guess. The lower bound is 0 at least, so that its read sees no zeros, of which there may be many,
// and in steps of the upper 16 bits.
int32_t Above(float expected, float spread) { return MagnitudeBits(expected * (1 + spread)); }
int32_t Below(float expected, float spread) { return MagnitudeBits(expected * (1 - spread)) & ~(kLowerBins - 1); }

// One read of some words.
std::span<const Entry> ReadNear(const float* w, int64_t nnz, int32_t above, uint16_t below, WordRange words,
                                uint64_t* kept) {
  thread_local WindowFindings found;
  found.unit_above.assign(1, 0);
  found.candidate_count = 0;
  const WeightSelection flat = {.rows = 1, .cols = nnz};
  ScanWindow(w, flat, {above, &below}, words, kept, found);
  return {found.candidates.data(), found.candidate_count};
}

void ReadExactly(const Problem& p, Windowed& window, uint64_t* kept) {
  MarkAbove(p.w, p.nnz, window.above, {0, p.words()}, kept);
  window.entries.clear();
  for (int64_t e = 0; e < p.nnz; ++e) {
    const int32_t bits = MagnitudeBits(p.w[e]);
    if (window.below < bits && bits <= window.above) window.entries.push_back(MakeEntry(bits, e));
  }
}

// kept: what lies above the window. Completes it if the window can tell how.
Outcome Decide(const Problem& p, const Windowed& window, uint64_t* kept, float* value) {
  int64_t total = 0;
  for (int64_t i = 0; i < p.words(); ++i) total += std::popcount(kept[i]);
  const int64_t wanted = p.selection.k - total - FillPoorUnits(p.pattern, p.w, p.selection, kept);
  if (p.by_rank == 0) return Outcome::kDone;
  if (wanted < 1) return Outcome::kHigher;
  std::vector<Entry>& rest = window.entries;
  std::erase_if(rest, [&](Entry e) { return IsKept(kept, IndexOf(e)); });
  if (wanted > static_cast<int64_t>(rest.size())) return Outcome::kLower;
  std::nth_element(rest.begin(), rest.begin() + (wanted - 1), rest.end(), std::greater<>());
  for (int64_t i = 0; i < wanted; ++i) Keep(IndexOf(rest[i]), kept);
  *value = std::bit_cast<float>(BitsOf(rest[wanted - 1]));
  return Outcome::kDone;
}

// Returns the threshold. scanned: what lies in the window, where `kept` holds what lies above it already.
float Select(const Problem& p, float expected, float spread, const std::vector<Entry>* scanned, uint64_t* kept) {
  thread_local std::vector<Entry> entries;
  float value = 0;
  if (p.by_rank == 0) {  // nothing lies above: every unit is poor
    std::fill_n(kept, p.words(), 0);
    Decide(p, {kMostBits, kMostBits, entries}, kept, &value);
    return value;
  }
  Windowed window = {Above(expected, spread), Below(expected, spread), entries};
  if (scanned != nullptr) {
    entries = *scanned;
  } else {
    const auto below = static_cast<uint16_t>(window.below >> kLowerBits);
    const std::span<const Entry> found = ReadNear(p.w, p.nnz, window.above, below, {0, p.words()}, kept);
    entries.assign(found.begin(), found.end());
  }
  Outcome outcome = Decide(p, window, kept, &value);
  if (outcome == Outcome::kDone) return value;
  if (outcome == Outcome::kHigher) {
    window.below = window.above;
    window.above = kMostBits;
  } else {
    window.above = window.below;
    window.below = -1;
  }
  ReadExactly(p, window, kept);
  outcome = Decide(p, window, kept, &value);
  CHECK(outcome == Outcome::kDone, "no threshold for k = {} of {} candidates", p.selection.k, p.nnz);
  return value;
}

// About the k-th magnitude, from a sample.
float SampledThreshold(const Problem& p) {
  constexpr int64_t kSample = 1024;
  thread_local std::vector<int32_t> sample;
  sample.clear();
  const int64_t stride = std::max<int64_t>(1, p.nnz / kSample);
  for (int64_t e = 0; e < p.nnz; e += stride) sample.push_back(MagnitudeBits(p.w[e]));
  const auto count = static_cast<int64_t>(sample.size());
  const int64_t rank = std::min(count - 1, p.selection.k * count / p.nnz);
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<>());
  return std::bit_cast<float>(sample[rank]);
}

bool IsUsable(const WeightThreshold& t) {
  return t.expected > 0 && t.expected <= FLT_MAX / 2 && t.spread > 0 && t.spread < 1;
}

// The next step's guess: the threshold where it is, within three times the error of this step's guess.
void Update(float value, WeightThreshold& t) {
  const bool known = t.expected > 0 && value > 0;
  const float error = known ? std::abs(value / t.expected - 1) : 0;
  t.spread = known ? std::clamp(std::max(3 * error, 0.6f * t.spread), kLeastSpread, kMostSpread) : kFirstSpread;
  t.value = t.expected = value;
}

}  // namespace

void CandidateScan::Begin(int64_t nnz, const WeightThreshold& guess, uint64_t* kept) {
  shared_ = nullptr;
  if (!IsUsable(guess)) return;
  nnz_ = nnz;
  above_ = Above(guess.expected, guess.spread);
  below_ = static_cast<uint16_t>(Below(guess.expected, guess.spread) >> kLowerBits);
  kept_ = kept;
  shared_.reset(new Shared);
}

void CandidateScan::Read(const float* w, int64_t begin, int64_t size) {
  if (shared_ == nullptr) return;
  CHECK(begin % 64 == 0 && 0 <= begin && begin + size <= nnz_, "entries {} to {} of {}", begin, begin + size, nnz_);
  CHECK(size % 64 == 0 || begin + size == nnz_, "a piece of {} entries", size);
  const TraceSpan span("candidate_topk.scan", [&] {
    return TraceWork{.bytes = 4.125 * static_cast<double>(size), .level = TraceLevel::kCache};
  });
  const WordRange words = {begin / 64, (begin + size + 63) / 64};
  const std::span<const Entry> found = ReadNear(w, nnz_, above_, below_, words, kept_);
  const std::lock_guard lock(shared_->mutex);
  shared_->entries.insert(shared_->entries.end(), found.begin(), found.end());
  shared_->read += size;
}

void SelectCandidates(const PatternView& pattern, const float* w, const CandidateSelection& selection,
                      WeightThreshold* threshold, uint64_t* kept, const CandidateScan* scan) {
  const auto& [k, min_alive, unit] = selection;
  const int64_t nnz = pattern.nnz(), words = pattern.words();
  CHECK(0 <= k && k <= nnz, "k = {} of {} candidates", k, nnz);
  const int64_t units = unit == Unit::kRow ? pattern.rows : unit == Unit::kColumn ? pattern.cols : 0;
  int64_t minimum = units * std::max(min_alive, 0);
  if (minimum >= k) minimum = MinimumOf(pattern, selection);
  CHECK(minimum <= k, "min_alive = {} for {} units asks for {} entries, more than k = {}", min_alive, units, minimum,
        k);
  if (k == 0 || k == nnz) {
    std::fill_n(kept, words, k == 0 ? 0 : ~uint64_t{0});
    if (k > 0 && nnz % 64 != 0) kept[words - 1] = (uint64_t{1} << (nnz % 64)) - 1;
    if (threshold != nullptr) *threshold = WeightThreshold();
    return;
  }
  const std::vector<Entry>* const scanned = ScanAccess::EntriesOf(scan);
  const TraceSpan span("candidate_topk", [&] {
    const double index_bytes = selection.unit == Unit::kColumn ? 2 : 0;
    const double weight_bytes = scanned == nullptr ? 4.125 : 0.125;
    return TraceWork{.bytes = (weight_bytes + index_bytes) * static_cast<double>(nnz), .level = TraceLevel::kMemory};
  });
  const Problem problem = {pattern, w, selection, nnz, k - minimum};
  WeightThreshold none;
  WeightThreshold& guess = threshold != nullptr ? *threshold : none;
  if (!IsUsable(guess)) {
    guess.expected = std::min(SampledThreshold(problem), FLT_MAX / 2);
    guess.spread = 4 * kFirstSpread;
  }
  Update(Select(problem, guess.expected, guess.spread, scanned, kept), guess);
}

void ApplyCandidateSelection(const uint64_t* kept, int64_t nnz, float factor, float* w) {
  const TraceSpan span("candidate_topk.apply", [&] {
    return TraceWork{.bytes = 8.125 * static_cast<double>(nnz), .level = TraceLevel::kMemory};
  });
  ApplyWords(kept, nnz, factor, {0, (nnz + 63) / 64}, w);
}

}  // namespace filigree::kernels
