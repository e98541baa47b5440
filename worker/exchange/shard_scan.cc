#include "worker/exchange/shard_scan.h"

#include <algorithm>

namespace filigree::exchange {
namespace {

using kernels::Entry;
using kernels::MagnitudeBits;

constexpr int64_t kBlock = 32;

}  // namespace

uint64_t ScanRun(const float* w, int64_t index, int64_t n, const Look& look, uint64_t* inside, EntryList& list) {
  const auto begin = static_cast<uint32_t>(look.begin), last = static_cast<uint32_t>(look.end - 1);
  uint64_t above = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    const float* x = w + first;
    const int64_t size = std::min(kBlock, n - first);
    // Most blocks have nothing inside: they are counted without a branch an entry.
    uint32_t block_above = 0, block_from_begin = 0;
    for (int64_t i = 0; i < size; ++i) {
      const auto bits = static_cast<uint32_t>(MagnitudeBits(x[i]));
      block_above += bits > last;
      block_from_begin += bits >= begin;
    }
    above += block_above;
    if (block_from_begin == block_above) continue;
    for (int64_t i = 0; i < size; ++i) {
      const auto bits = static_cast<uint32_t>(MagnitudeBits(x[i]));
      if (bits < begin || bits > last) continue;
      ++inside[(bits - begin) >> look.shift];
      list.Add(kernels::MakeEntry(static_cast<int32_t>(bits), index + first + i));
    }
  }
  return above;
}

void MarkRun(const float* w, int64_t index, int64_t n, int64_t least, uint64_t* kept) {
  for (int64_t i = 0; i < n;) {
    const int64_t word = (index + i) / 64, offset = (index + i) % 64;
    const int64_t end = std::min(n, i + 64 - offset);
    uint64_t bits = 0;
    for (int64_t j = i; j < end; ++j) bits |= static_cast<uint64_t>(MagnitudeBits(w[j]) >= least) << (j - i);
    if (bits != 0) kept[word] |= bits << offset;
    i = end;
  }
}

}  // namespace filigree::exchange
