#include "worker/model/initial_draw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "kernels/base/random_batch.h"
#include "kernels/weight_topk/entry.h"

namespace filigree::model {
namespace {

using kernels::Entry;
using kernels::MagnitudeBits;
using kernels::MakeEntry;
using kernels::ThreadPool;
using kernels::Unit;

constexpr int64_t kBlock = 1 << 16, kPiece = 1 << 11;  // draws of a task, and of one call of the generator

// The magnitude that a share `fraction` of normal draws reaches, by bisection: within 1e-15 of it.
double NormalReachedBy(double fraction) {
  double low = 0, high = 40;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.0)) > fraction ? low : high) = middle;
  }
  return low;
}

// A tensor's draws, as InitialiseWeights makes them.
class Draws {
 public:
  Draws(const TensorInfo& info, uint64_t seed)
      : init_(info.init),
        scale_(info.init_scale),
        seed_(seed),
        stream_(kernels::StreamOf(info.name.c_str())),
        rng_(seed, stream_) {}

  bool AllEqual() const { return init_ == Init::kZero || init_ == Init::kOne; }

  float Draw(int64_t i) const {
    if (init_ == Init::kNormal) return static_cast<float>(scale_ * rng_.Normal(i));
    if (init_ == Init::kUniform) return static_cast<float>(scale_ * rng_.Uniform(i));
    return init_ == Init::kOne ? 1.0f : 0.0f;
  }

  // A magnitude that about this share of the draws reaches.
  float ReachedBy(double fraction) const {
    if (AllEqual() || fraction >= 1) return 0;
    return static_cast<float>(scale_ * (init_ == Init::kNormal ? NormalReachedBy(fraction) : 1 - fraction));
  }

  // Bits of the generator that every draw of at least this magnitude has: the first 53 are u, and |w| is at most
  // scale sqrt(-2 ln(1 - u)), or scale u. A little less, for the roundings on the way.
  uint64_t LeastBits(float magnitude) const {
    if (AllEqual() || magnitude <= 0) return 0;
    const double reach = magnitude / scale_ * (1 - 1e-6);
    const double u = (init_ == Init::kNormal ? -std::expm1(-reach * reach / 2) : reach) * (1 - 1e-9);
    return static_cast<uint64_t>(std::min(u, 1.0) * 0x1p53) << 11;
  }

  // Draws [first, first + n) whose bits are at least `least`, as distances from first: their number.
  int64_t Find(int64_t first, int64_t n, uint64_t least, std::array<uint32_t, kPiece>& found) const {
    std::array<uint64_t, kPiece> bits;
    kernels::RandomBits(seed_, stream_, static_cast<uint64_t>(first), n, bits.data());
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      found[count] = static_cast<uint32_t>(i);
      count += bits[i] >= least;
    }
    return count;
  }

  uint64_t Bits(int64_t i) const { return rng_.Bits(i); }

 private:
  Init init_;
  double scale_;
  uint64_t seed_, stream_;
  kernels::CounterRng rng_;
};

// Entries per block of indices, ascending by index.
using Blocks = std::vector<std::vector<Entry>>;

std::vector<Entry> DrawBlock(const Draws& draws, int64_t begin, int64_t end, float magnitude) {
  const uint64_t least = draws.LeastBits(magnitude);
  std::vector<Entry> entries;
  std::array<uint32_t, kPiece> found;
  for (int64_t first = begin; first < end; first += kPiece) {
    const int64_t count = draws.Find(first, std::min(kPiece, end - first), least, found);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t bits = MagnitudeBits(draws.Draw(first + found[i]));
      if (bits >= MagnitudeBits(magnitude)) entries.push_back(MakeEntry(bits, first + found[i]));
    }
  }
  return entries;
}

// All entries that reach some magnitude, at least `count` of them: the largest of the whole tensor and a few more.
Blocks DrawLargestBlocks(const Draws& draws, int64_t numel, int64_t count, ThreadPool& pool) {
  // Of equal ones the first are the largest.
  const int64_t end = draws.AllEqual() ? count : numel;
  Blocks blocks((end + kBlock - 1) / kBlock);
  for (double more = 2 * std::sqrt(static_cast<double>(count)) + 1;; more *= 2) {
    const float magnitude = draws.ReachedBy((static_cast<double>(count) + more) / static_cast<double>(numel));
    pool.Run(static_cast<int64_t>(blocks.size()), [&](int64_t b, int) {
      blocks[b] = DrawBlock(draws, b * kBlock, std::min(end, (b + 1) * kBlock), magnitude);
    });
    int64_t found = 0;
    for (const auto& block : blocks) found += static_cast<int64_t>(block.size());
    if (found >= count) return blocks;
  }
}

// Every unit's largest entries, which stay whatever the rest of the tensor holds.
class UnitMinima {
 public:
  UnitMinima(const TensorInfo& info, int64_t min_per_unit) : unit_(info.unit), cols_(info.cols) {
    if (unit_ == Unit::kNone) return;
    length_ = unit_ == Unit::kRow ? info.cols : info.rows;
    each_ = std::min(min_per_unit, length_);
    units_ = each_ == 0 ? 0 : info.numel() / length_;
    best_.assign(units_ * each_, 0);
    found_.assign(units_, 0);
  }

  int64_t total() const { return units_ * each_; }

  bool Has(Entry e) const { return units_ > 0 && e >= best_[(UnitOf(kernels::IndexOf(e)) + 1) * each_ - 1]; }

  // From entries that are the largest of the whole tensor. Units of which they hold too few are drawn again.
  void Find(const Blocks& largest, const Draws& draws, ThreadPool& pool) {
    if (units_ == 0) return;
    for (const auto& block : largest) {
      for (const Entry e : block) Take(e);
    }
    for (int64_t u = 0; u < units_; ++u) {
      found_[u] = std::find(Best(u), Best(u + 1), 0) - Best(u);
    }
    pool.Run(units_, [&](int64_t u, int) {
      if (found_[u] == each_) return;
      const double wanted = 2.0 * static_cast<double>(each_) + 8;
      DrawUnit(u, draws, draws.ReachedBy(wanted / static_cast<double>(length_)));
      if (Best(u)[each_ - 1] == 0) DrawUnit(u, draws, 0);
    });
  }

  // Indices that were drawn again, those of no entry given to Find, ascending.
  std::vector<int64_t> DrawnAgain() const {
    std::vector<int64_t> indices;
    for (int64_t u = 0; u < units_; ++u) {
      std::transform(Best(u) + found_[u], Best(u + 1), std::back_inserter(indices), kernels::IndexOf);
    }
    std::sort(indices.begin(), indices.end());
    return indices;
  }

 private:
  int64_t UnitOf(int64_t index) const { return unit_ == Unit::kRow ? index / cols_ : index % cols_; }
  Entry* Best(int64_t u) { return best_.data() + u * each_; }
  const Entry* Best(int64_t u) const { return best_.data() + u * each_; }

  void Take(Entry e) {
    Entry* best = Best(UnitOf(kernels::IndexOf(e)));
    if (e > best[each_ - 1]) kernels::InsertEntry(e, best, each_);
  }

  void DrawUnit(int64_t u, const Draws& draws, float magnitude) {
    const uint64_t least = draws.LeastBits(magnitude);
    std::fill(Best(u), Best(u + 1), 0);
    for (int64_t j = 0; j < length_; ++j) {
      const int64_t index = unit_ == Unit::kRow ? u * cols_ + j : j * cols_ + u;
      if (draws.Bits(index) < least) continue;
      const int32_t bits = MagnitudeBits(draws.Draw(index));
      if (bits >= MagnitudeBits(magnitude)) Take(MakeEntry(bits, index));
    }
  }

  Unit unit_;
  int64_t cols_, length_ = 0, units_ = 0, each_ = 0;
  std::vector<Entry> best_;     // [units][each], descending, 0: none yet
  std::vector<int64_t> found_;  // per unit: how many of its best were among the largest of the tensor
};

// The least of the `count` largest entries that are no unit's minimum; all bits set where count is 0.
Entry LeastOfRest(const Blocks& largest, const UnitMinima& minima, int64_t count) {
  if (count == 0) return ~Entry{0};
  std::vector<Entry> rest;
  for (const auto& block : largest) {
    std::copy_if(block.begin(), block.end(), std::back_inserter(rest), [&](Entry e) { return !minima.Has(e); });
  }
  CHECK(count <= static_cast<int64_t>(rest.size()), "{} of {} entries", count, rest.size());
  std::nth_element(rest.begin(), rest.begin() + count - 1, rest.end(), std::greater<>());
  return rest[count - 1];
}

// Indices of the entries of `largest` that are a unit's minimum or at least `least`, ascending.
std::vector<int64_t> Chosen(const Blocks& largest, const UnitMinima& minima, Entry least) {
  std::vector<int64_t> indices;
  for (const auto& block : largest) {
    for (const Entry e : block) {
      if (e >= least || minima.Has(e)) indices.push_back(kernels::IndexOf(e));
    }
  }
  return indices;
}

InitialDraw DrawEntries(const TensorInfo& info, const Draws& draws, const std::vector<int64_t>& indices,
                        ThreadPool& pool) {
  const auto nnz = static_cast<int64_t>(indices.size());
  InitialDraw drawn{kernels::Pattern(static_cast<int>(info.rows), static_cast<int>(info.cols), nnz),
                    kernels::Buffer<float>(static_cast<size_t>(nnz))};
  for (int64_t e = 0; e < nnz; ++e) {
    drawn.pattern.col_indices()[e] = static_cast<uint16_t>(indices[e] % info.cols);
    ++drawn.pattern.row_offsets()[indices[e] / info.cols + 1];
  }
  for (int64_t r = 0; r < info.rows; ++r) drawn.pattern.row_offsets()[r + 1] += drawn.pattern.row_offsets()[r];
  pool.Run((nnz + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    const int64_t end = std::min(nnz, (piece + 1) * kPiece);
    for (int64_t e = piece * kPiece; e < end; ++e) drawn.values[e] = draws.Draw(info.WholeIndex(indices[e]));
  });
  return drawn;
}

// The indices of a whole tensor that are here, as indices here; both ascend.
std::vector<int64_t> Here(const TensorInfo& info, const std::vector<int64_t>& indices) {
  std::vector<int64_t> rows(info.row_range.whole, -1), cols(info.col_range.whole, -1), here;
  for (int64_t r = 0; r < info.rows; ++r) rows[info.row_range.WholeIndex(r, info.rows)] = r;
  for (int64_t c = 0; c < info.cols; ++c) cols[info.col_range.WholeIndex(c, info.cols)] = c;
  for (const int64_t index : indices) {
    const int64_t r = rows[index / info.col_range.whole], c = cols[index % info.col_range.whole];
    if (r >= 0 && c >= 0) here.push_back(r * info.cols + c);
  }
  return here;
}

// Indices of the entries that the tensor's dense draw keeps, ascending.
std::vector<int64_t> ChooseLargest(const TensorInfo& info, const Draws& draws, int64_t candidates, int64_t min_per_unit,
                                   ThreadPool& pool) {
  CHECK(0 <= candidates && candidates <= info.numel() && info.numel() < 0xffffffff, "{} candidates of {} entries",
        candidates, info.numel());
  CHECK(min_per_unit >= 0, "{} entries a unit", min_per_unit);
  UnitMinima minima(info, min_per_unit);
  CHECK(minima.total() <= candidates, "the units of {} keep {} entries at least, of {} candidates", info.name,
        minima.total(), candidates);
  const Blocks largest = DrawLargestBlocks(draws, info.numel(), candidates, pool);
  minima.Find(largest, draws, pool);
  const Entry least = LeastOfRest(largest, minima, candidates - minima.total());
  const std::vector<int64_t> chosen = Chosen(largest, minima, least), again = minima.DrawnAgain();
  std::vector<int64_t> indices(chosen.size() + again.size());
  std::merge(chosen.begin(), chosen.end(), again.begin(), again.end(), indices.begin());
  CHECK(static_cast<int64_t>(indices.size()) == candidates, "{} entries of {}", indices.size(), candidates);
  return indices;
}

}  // namespace

InitialDraw DrawLargest(const TensorInfo& info, uint64_t seed, int64_t candidates, int64_t min_per_unit,
                        ThreadPool& pool) {
  const Draws draws(info, seed);
  if (!info.shared) {
    return DrawEntries(info, draws, ChooseLargest(info, draws, candidates, min_per_unit, pool), pool);
  }
  return DrawEntries(info, draws, Here(info, ChooseLargest(info.Whole(), draws, candidates, min_per_unit, pool)), pool);
}

}  // namespace filigree::model
