#include "kernels/attention/kept_lists.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/attention/attention_check.h"

namespace filigree::kernels {
namespace {

uint64_t NonzeroBits(const float* row) {
  uint64_t bits = 0;
  for (int t = 0; t < kTileTokens; ++t) bits |= uint64_t{row[t] != 0.0f} << t;
  return bits;
}

}  // namespace

void KeptLists::Reserve(int channels) {
  if (bits_.size() >= static_cast<size_t>(channels)) return;
  bits_ = Buffer<uint64_t>(channels);
  offsets_ = Buffer<uint16_t>(static_cast<size_t>(channels) * kTileTokens);
}

void KeptLists::Build(ConstTile x, const uint64_t* kept, WithoutBits without_bits, int keys) {
  channels_ = x.channels;
  const uint64_t real = keys >= kTileTokens ? ~uint64_t{0} : (uint64_t{1} << keys) - 1;
  for (int c = 0; c < channels_; ++c) {
    uint64_t bits = ~uint64_t{0};
    if (kept != nullptr) {
      bits = kept[c];
    } else if (without_bits == WithoutBits::kNonzero) {
      bits = NonzeroBits(x.row(c));
    }
    bits_[c] = bits & real;
  }
  ListByKey();
  SortByCount();
}

void KeptLists::ListByKey() {
  std::memset(count_, 0, sizeof(count_));
  for (int c = 0; c < channels_; ++c) {
    for (uint64_t left = bits_[c]; left != 0; left &= left - 1) {
      const int key = std::countr_zero(left);
      offsets_[static_cast<size_t>(key) * channels_ + count_[key]++] = static_cast<uint16_t>(c * kTileTokens);
    }
  }
}

void KeptLists::SortByCount() {
  uint8_t begin[kMaxHeadChannels + 2] = {};  // of each count
  for (const int count : count_) ++begin[count + 1];
  for (int n = 1; n <= channels_; ++n) begin[n] = static_cast<uint8_t>(begin[n] + begin[n - 1]);
  for (int key = 0; key < kTileTokens; ++key) order_[begin[count_[key]]++] = static_cast<uint8_t>(key);

  uint8_t block_begin[kTileTokens / kBlockKeys] = {0, 16, 32, 48};
  for (const uint8_t key : order_) block_order_[block_begin[key / kBlockKeys]++] = key;
}

}  // namespace filigree::kernels
