#include "kernels/attention/kept_lists.h"

namespace filigree::kernels {
namespace {

uint64_t NonzeroBits(const float* row) {
  uint64_t bits = 0;
  for (int t = 0; t < kTileTokens; ++t) bits |= uint64_t{row[t] != 0.0f} << t;
  return bits;
}

}  // namespace

void ReadKeptBits(ConstTile x, const uint64_t* kept, WithoutBits without_bits, int keys, uint64_t* bits) {
  const uint64_t real = keys >= kTileTokens ? ~uint64_t{0} : (uint64_t{1} << keys) - 1;
  for (int c = 0; c < x.channels; ++c) {
    uint64_t word = ~uint64_t{0};
    if (kept != nullptr) {
      word = kept[c];
    } else if (without_bits == WithoutBits::kNonzero) {
      word = NonzeroBits(x.row(c));
    }
    bits[c] = word & real;
  }
}

void KeyLists::Reserve(int channels) {
  const size_t size = static_cast<size_t>(channels) * kTileTokens + kSlack;
  if (places.size() >= size) return;
  places = Buffer<int32_t>(size);
  values = Buffer<float>(size);
}

void KeyLists::SortByCount() {
  uint8_t begin[kMaxHeadChannels + 2] = {};  // of each count
  int largest = 0;
  for (const int n : count) {
    ++begin[n + 1];
    largest = n > largest ? n : largest;
  }
  for (int n = 1; n <= largest; ++n) begin[n] = static_cast<uint8_t>(begin[n] + begin[n - 1]);
  for (int key = 0; key < kTileTokens; ++key) order[begin[count[key]]++] = static_cast<uint8_t>(key);

  uint8_t block_begin[kTileTokens / kBlockKeys] = {0, 16, 32, 48};
  for (const uint8_t key : order) block_order[block_begin[key / kBlockKeys]++] = key;
}

}  // namespace filigree::kernels
