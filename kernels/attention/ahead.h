#ifndef FILIGREE_KERNELS_ATTENTION_AHEAD_H_
#define FILIGREE_KERNELS_ATTENTION_AHEAD_H_

#include <array>

#include "kernels/base/tile.h"

namespace filigree::kernels {

// Tiles that will be needed soon, brought into the cache a line at a time while the current square is computed: a
// head's rows lie 4 KB at a time in tiles far from each other, which no hardware prefetcher follows. Behind a head's
// rows lie those of the next head, usually the next call; whatever lies there, a prefetch does no harm.
class Ahead {
 public:
  explicit Ahead(int channels) : pages_((channels + kLinesOfRow * 4 - 1) / (kLinesOfRow * 4)) {}

  void Add(ConstTile tile) { tiles_[count_++] = tile.data; }
  // The same rows of the next head.
  void AddNextHead(ConstTile tile) { tiles_[count_++] = tile.row(tile.channels); }

  // One of 64 steps of one of kParts visits of the square's rows, so that memory is busy all along.
  template <int kPart, int kParts>
  void Step(int step) const {
    for (int i = kPart; i < count_; i += kParts) {
      for (int page = 0; page < pages_; ++page) {
        __builtin_prefetch(tiles_[i] + (page * kTileTokens + step) * kFloatsOfLine);
      }
    }
  }

 private:
  static constexpr int kFloatsOfLine = 16;
  static constexpr int kLinesOfRow = kTileTokens / kFloatsOfLine;

  int pages_;  // 64 lines each
  int count_ = 0;
  std::array<const float*, 8> tiles_ = {};
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_AHEAD_H_
