#include "worker/mask/newcomers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "kernels/base/buffer.h"
#include "kernels/base/check.h"
#include "kernels/base/random_batch.h"
#include "kernels/weight_topk/entry.h"
#include "kernels/weight_topk/weight_topk.h"

namespace filigree::mask {
namespace {

constexpr int kStepBits = 24;
// The exact way draws from here on: no line is that long, and no rejection that patient.
constexpr uint64_t kExactDraws = Draws::kMost / 2;

double Usable(double weight) { return std::isfinite(weight) && weight > 0 ? weight : 0; }

// One round: `count` by systematic sampling in proportion to `weight` among rows that have room; returns how many found
// none.
int64_t ShareRound(const std::function<double(size_t)>& weight, std::span<const int32_t> room, int64_t count,
                   double offset, std::vector<int32_t>& shares) {
  double total = 0;
  for (size_t r = 0; r < room.size(); ++r) total += shares[r] < room[r] ? weight(r) : 0;
  if (!(total > 0) || !std::isfinite(total)) return count;
  double sum = 0;
  int64_t given = 0, over = 0;
  for (size_t r = 0; r < room.size(); ++r) {
    if (shares[r] >= room[r]) continue;
    sum += weight(r);
    const auto until = std::min(count, static_cast<int64_t>(sum / total * static_cast<double>(count) + offset));
    const int64_t fits = std::min<int64_t>(until - given, room[r] - shares[r]);
    over += until - given - fits;
    shares[r] += static_cast<int32_t>(fits);
    given = until;
  }
  return over + count - given;
}

// -log(1 - x), x = (bits + 1/2) / 2^32, with a relative error of 1e-6: 1 - x = m / 2^k with m from 1/2 to 1, and
// -log(m) = 2 artanh(s), s = (1 - m) / (1 + m) at most 1/3. 1 - m is exact in integers, so small times are as precise.
float ExponentialOf(uint32_t bits) {
  constexpr uint64_t kOne = uint64_t{1} << 33;
  const uint64_t rest = kOne - (2 * uint64_t{bits} + 1);  // from 1 to 2^33 - 1
  const int k = std::countl_zero(rest) - 31;
  const float d = static_cast<float>(kOne - (rest << k)) * 0x1p-33f;
  const float s = d / (2 - d), q = s * s;
  const float series =
      1 + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9 + q * (1.0f / 11 + q * (1.0f / 13))))));
  return static_cast<float>(k) * 0.6931472f + 2 * s * series;
}

}  // namespace

Draws::Draws(uint64_t seed, uint64_t stream, int64_t step)
    : seed_(seed + (static_cast<uint64_t>(step) >> kStepBits) * 0x9e3779b97f4a7c15u),
      stream_(stream),
      first_(static_cast<uint64_t>(step) << (64 - kStepBits)) {}

void Draws::Bits(uint64_t line, uint64_t draw, int64_t n, uint64_t* bits) const {
  kernels::RandomBits(seed_, stream_, Index(line, draw), n, bits);
}

void DrawReader::Refill() {
  draws_.Bits(line_, next_, kBatch, bits_);
  next_ += kBatch;
  used_ = 0;
}

Sampler::Sampler(const float* weight, int n) : weight_(n) {
  int heaviest = 0;
  for (int i = 0; i < n && weight != nullptr; ++i) {
    weight_[i] = Usable(weight[i]);
    total_ += weight_[i];
    if (weight_[i] > weight_[heaviest]) heaviest = i;
  }
  if (total_ <= 0) {
    std::fill(weight_.begin(), weight_.end(), 1.0);
    total_ = n;
    return;
  }
  coin_.resize(n);
  alias_.resize(n);
  std::vector<double> part(n);  // of a place's share, in units of 1 / n
  std::vector<int> below, above;
  below.reserve(n);
  above.reserve(n);
  for (int i = 0; i < n; ++i) {
    part[i] = weight_[i] / total_ * n;
    (part[i] < 1 ? below : above).push_back(i);
  }
  const auto set = [&](int i, double own, int alias) {
    coin_[i] = static_cast<uint32_t>(std::min(own * 0x1p32, 0x1p32 - 1));
    alias_[i] = static_cast<uint16_t>(alias);
  };
  while (!below.empty() && !above.empty()) {
    const int low = below.back(), high = above.back();
    below.pop_back();
    set(low, part[low], high);
    part[high] -= 1 - part[low];
    if (part[high] < 1) {
      above.pop_back();
      below.push_back(high);
    }
  }
  for (const int i : above) set(i, 1, i);
  for (const int i : below) set(i, part[i], part[i] > 0.5 ? i : heaviest);  // would be 1 but for rounding
}

int Sampler::Place(uint32_t bits) const {
  const uint64_t at = static_cast<uint64_t>(bits) * weight_.size();
  const auto i = static_cast<uint32_t>(at >> 32);
  if (coin_.empty()) return static_cast<int>(i);
  return static_cast<int>(static_cast<uint32_t>(at) < coin_[i] ? i : alias_[i]);
}

void Sampler::Take(const Draws& draws, uint64_t line, DrawReader& reader, int64_t count, double free_share,
                   uint64_t* taken) const {
  int64_t patience = 4 * count + 32;
  // More draws would hit a place that is taken than there is patience for.
  if (static_cast<double>(count) > free_share * static_cast<double>(patience)) {
    return TakeExactly(draws, line, count, taken);
  }
  for (; count > 0 && patience > 0; --patience) {
    const int i = Place(reader.Next());
    if (kernels::IsKept(taken, i)) continue;
    kernels::Keep(i, taken);
    --count;
  }
  TakeExactly(draws, line, count, taken);
}

// The same distribution in one go (Efraimidis and Spirakis 2006): each place waits for a time that is exponential with
// its weight as the rate; the first `count` are taken, those of weight 0 after all others. Positive numbers are ordered
// as their bits are: a place that waits is one number, of that, its time (but for 16 bits) and itself.
void Sampler::TakeExactly(const Draws& draws, uint64_t line, int64_t count, uint64_t* taken) const {
  if (count <= 0) return;
  constexpr uint64_t kWeightless = uint64_t{1} << 63, kPlace = 0xffff;
  std::vector<uint64_t> bits((static_cast<size_t>(size()) + 1) / 2), waiting;
  draws.Bits(line, kExactDraws, std::ssize(bits), bits.data());
  waiting.reserve(size());
  for (int i = 0; i < size(); ++i) {
    if (kernels::IsKept(taken, i)) continue;
    const double time = ExponentialOf(static_cast<uint32_t>(bits[i / 2] >> (i % 2 * 32)));
    const double until = weight_[i] > 0 ? time / weight_[i] : time;
    const uint64_t last = weight_[i] > 0 ? 0 : kWeightless;
    waiting.push_back(last | (std::bit_cast<uint64_t>(until) & ~kPlace) | static_cast<uint64_t>(i));
  }
  CHECK(count <= std::ssize(waiting), "{} places of {} that are free", count, waiting.size());
  std::nth_element(waiting.begin(), waiting.begin() + (count - 1), waiting.end());
  for (int64_t i = 0; i < count; ++i) kernels::Keep(static_cast<int64_t>(waiting[i] & kPlace), taken);
}

std::vector<int32_t> ShareOut(std::span<const double> weight, std::span<const int32_t> room, int64_t count,
                              const Draws& draws) {
  constexpr uint64_t kRounds = 16;
  std::vector<int32_t> shares(room.size());
  uint64_t round = 0;
  for (int64_t before = count + 1; count > 0 && count < before && round < kRounds; ++round) {
    before = count;
    const double offset = draws.Uniform(Draws::kShares, round);
    count = ShareRound([&](size_t r) { return Usable(weight[r]); }, room, count, offset, shares);
  }
  if (count > 0) {
    const std::vector<int32_t> had = shares;
    const double offset = draws.Uniform(Draws::kShares, round);
    count = ShareRound([&](size_t r) { return static_cast<double>(room[r] - had[r]); }, room, count, offset, shares);
  }
  for (size_t r = 0; r < room.size() && count > 0; ++r) {  // what rounding left
    const auto fits = static_cast<int32_t>(std::min<int64_t>(count, room[r] - shares[r]));
    shares[r] += fits;
    count -= fits;
  }
  CHECK(count == 0, "{} positions more than there is room for", count);
  return shares;
}

std::vector<uint32_t> RankByMagnitude(const float* score, int64_t numel, int64_t count, kernels::ThreadPool& pool) {
  kernels::Buffer<uint64_t> best(static_cast<size_t>((numel + 63) / 64));
  kernels::SelectWeights(score, {.rows = 1, .cols = numel, .k = count}, nullptr, pool, best.data());
  std::vector<kernels::Entry> entries;
  entries.reserve(count);
  for (size_t word = 0; word < best.size(); ++word) {
    for (uint64_t bits = best[word]; bits != 0; bits &= bits - 1) {
      const int64_t i = static_cast<int64_t>(word) * 64 + std::countr_zero(bits);
      entries.push_back(kernels::MakeEntry(kernels::MagnitudeBits(score[i]), i));
    }
  }
  std::sort(entries.begin(), entries.end(), std::greater<>());
  std::vector<uint32_t> ranked;
  ranked.reserve(entries.size());
  for (const kernels::Entry e : entries) ranked.push_back(static_cast<uint32_t>(kernels::IndexOf(e)));
  return ranked;
}

}  // namespace filigree::mask
