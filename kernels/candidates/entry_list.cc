#include "kernels/candidates/entry_list.h"

#include <algorithm>
#include <bit>

namespace filigree::kernels {
namespace {

constexpr int64_t kPadding = 16;

template <typename T>
void Grow(Buffer<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer = Buffer<T>(static_cast<size_t>(size + size / 8));
}

// Runs are given out in parts; the result does not depend on their number.
struct Parts {
  Parts(int runs, const ThreadPool& pool) : runs(runs), count(pool.threads() == 1 ? 1 : 4 * pool.threads()) {}
  int begin(int64_t part) const { return static_cast<int>(runs * part / count); }

  int64_t runs, count;
};

// Calls visit(first, word): bit b of word is set where entry first + b of [begin, end) is kept.
template <typename Visit>
void ForEachWord(const uint64_t* kept, uint32_t begin, uint32_t end, Visit visit) {
  for (uint32_t e = begin; e < end;) {
    const uint32_t first = e / 64 * 64, next = std::min<uint64_t>(end, uint64_t{first} + 64);
    uint64_t word = kept == nullptr ? ~uint64_t{0} : kept[e / 64];
    word = word >> (e - first) << (e - first);
    if (next - first < 64) word &= (uint64_t{1} << (next - first)) - 1;
    visit(first, word);
    e = next;
  }
}

// Offsets of `runs` runs from their lengths, which count(r) gives.
template <typename Count>
void SetOffsets(int runs, Count count, EntryList& to, ThreadPool& pool) {
  Grow(to.offsets, runs + 1);
  const Parts parts(runs, pool);
  pool.Run(parts.count, [&](int64_t part, int) {
    for (int r = parts.begin(part); r < parts.begin(part + 1); ++r) to.offsets[r + 1] = count(r);
  });
  to.offsets[0] = 0;
  for (int r = 0; r < runs; ++r) to.offsets[r + 1] += to.offsets[r];
}

// The kept entries of all rows: place(to, e) for each, in order, `to` counting up.
template <typename Place>
void PlaceRows(const PatternView& pattern, const uint64_t* kept, EntryList& list, ThreadPool& pool, Place place) {
  const Parts parts(pattern.rows, pool);
  pool.Run(parts.count, [&](int64_t part, int) {
    uint32_t to = list.offsets[parts.begin(part)];
    const uint32_t begin = pattern.row_offsets[parts.begin(part)], end = pattern.row_offsets[parts.begin(part + 1)];
    ForEachWord(kept, begin, end, [&](uint32_t first, uint64_t word) {
      for (; word != 0; word &= word - 1) place(to++, first + std::countr_zero(word));
    });
  });
}

void CountRows(const PatternView& pattern, const uint64_t* kept, EntryList& list, ThreadPool& pool) {
  const auto count = [&](int r) {
    uint32_t sum = 0;
    ForEachWord(kept, pattern.row_offsets[r], pattern.row_offsets[r + 1],
                [&](uint32_t, uint64_t word) { sum += std::popcount(word); });
    return sum;
  };
  SetOffsets(pattern.rows, count, list, pool);
  Grow(list.indices, list.offsets[pattern.rows] + kPadding);
}

}  // namespace

size_t EntryList::bytes() const {
  return offsets.size() * sizeof(uint32_t) + indices.size() * sizeof(uint16_t) + values.size() * sizeof(float);
}

void KeptRows(const PatternView& pattern, const float* w, const uint64_t* kept, EntryList& to, ThreadPool& pool) {
  CountRows(pattern, kept, to, pool);
  Grow(to.values, to.offsets[pattern.rows] + kPadding);
  uint16_t* indices = to.indices.data();
  float* values = to.values.data();
  PlaceRows(pattern, kept, to, pool, [=](uint32_t i, uint32_t e) {
    indices[i] = pattern.col_indices[e];
    values[i] = w[e];
  });
}

}  // namespace filigree::kernels
