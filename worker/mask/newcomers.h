#ifndef FILIGREE_WORKER_MASK_NEWCOMERS_H_
#define FILIGREE_WORKER_MASK_NEWCOMERS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/random.h"
#include "kernels/base/thread_pool.h"

// How positions outside a candidate set are drawn: first how many a row gets, then which columns.

namespace filigree::mask {

// The random numbers of one refresh of one tensor: numbered lines (rows, columns, the whole) of 2^22 draws each.
class Draws {
 public:
  // Steps past 2^24 continue under another key.
  Draws(uint64_t seed, uint64_t stream, int64_t step);

  static constexpr uint64_t kMost = uint64_t{1} << 22;
  // Lines: a row's own draws, those that fill up columns and rows which have too few, and the sharing out among rows.
  static constexpr uint64_t Row(int r) { return static_cast<uint64_t>(r); }
  static constexpr uint64_t ShortColumn(int c) { return (uint64_t{1} << 16) + c; }
  static constexpr uint64_t ShortRow(int r) { return (uint64_t{2} << 16) + r; }
  static constexpr uint64_t kShares = uint64_t{3} << 16;

  // Draws [draw, draw + n) of a line, 64 bits each.
  void Bits(uint64_t line, uint64_t draw, int64_t n, uint64_t* bits) const;
  // [0, 1).
  double Uniform(uint64_t line, uint64_t draw) const {
    return kernels::CounterRng(seed_, stream_).Uniform(Index(line, draw));
  }

 private:
  uint64_t Index(uint64_t line, uint64_t draw) const { return first_ | line * kMost | draw; }

  uint64_t seed_, stream_, first_;
};

// The draws of a line one after the other, 32 bits each.
class DrawReader {
 public:
  // At most kMost / 2 draws.
  DrawReader(const Draws& draws, uint64_t line) : draws_(draws), line_(line) {}

  uint32_t Next() {
    if (used_ == 2 * kBatch) Refill();
    const uint64_t bits = bits_[used_ / 2] >> (used_ % 2 * 32);
    ++used_;
    return static_cast<uint32_t>(bits);
  }

 private:
  static constexpr int kBatch = 32;
  void Refill();

  const Draws& draws_;
  const uint64_t line_;
  uint64_t next_ = 0;
  int used_ = 2 * kBatch;
  uint64_t bits_[kBatch];
};

// Places 0 .. n - 1 of a line with weights, n <= 65536.
class Sampler {
 public:
  // weight: [n]; null, or nothing positive: all places alike. Negative ones and what is no finite number count as 0.
  Sampler(const float* weight, int n);

  int size() const { return static_cast<int>(weight_.size()); }
  double weight(int i) const { return weight_[i]; }
  double total() const { return total_; }

  // Sets `count` more bits of taken[ceil(n / 64)], of those still free: one after the other, each with probability
  // proportional to its weight among the free; those of weight 0 come last, all alike. count <= free places.
  // `reader` may go on from line to line: 8 lines of 65536 places do not exhaust it. free_share: about how much of the
  // total weight is on free places, from 0 to 1; it decides how they are drawn, not with what chance.
  void Take(const Draws& draws, uint64_t line, DrawReader& reader, int64_t count, double free_share,
            uint64_t* taken) const;
  void Take(const Draws& draws, uint64_t line, int64_t count, uint64_t* taken) const {
    DrawReader reader(draws, line);
    Take(draws, line, reader, count, /*free_share=*/1, taken);
  }

 private:
  int Place(uint32_t bits) const;
  void TakeExactly(const Draws& draws, uint64_t line, int64_t count, uint64_t* taken) const;

  // Alias table (Walker 1977, Vose 1991): place i is itself below coin, else alias. Empty coins: all alike.
  std::vector<double> weight_;
  double total_ = 0;
  std::vector<uint32_t> coin_;
  std::vector<uint16_t> alias_;
};

// How many of `count` each row gets: in proportion to its weight, by systematic sampling (so within one of its share),
// at most room[r]; what does not fit goes to the others in proportion, and in the end to whoever has room.
// count <= sum of room.
std::vector<int32_t> ShareOut(std::span<const double> weight, std::span<const int32_t> room, int64_t count,
                              const Draws& draws);

// The `count` positions of largest |score|, best first; ties: the lower index. NaN is larger than every number.
// For the oracle: score is a dense gradient.
std::vector<uint32_t> RankByMagnitude(const float* score, int64_t numel, int64_t count, kernels::ThreadPool& pool);

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_NEWCOMERS_H_
