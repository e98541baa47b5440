#include <cmath>
#include <vector>

#include "kernels/candidates/candidates.h"
#include "kernels/spmm/spmm.h"

namespace filigree::kernels::ref {
namespace {

bool Kept(const uint64_t* kept, uint32_t e) { return kept == nullptr || (kept[e / 64] >> (e % 64) & 1) != 0; }

float Dot(const float* a, const float* b) {
  float lanes[16] = {};
  for (int t = 0; t < kTileTokens; ++t) lanes[t % 16] = std::fma(a[t], b[t], lanes[t % 16]);
  for (int distance = 1; distance < 16; distance *= 2) {
    for (int l = 0; l < 16; l += 2 * distance) lanes[l] += lanes[l + distance];
  }
  return lanes[0];
}

// The kept entries by rows, or by columns: compressed rows of W or of its transpose.
struct KeptEntries {
  KeptEntries(const PatternView& pattern, const float* w, const uint64_t* kept, bool by_columns) {
    const int runs = by_columns ? pattern.cols : pattern.rows;
    std::vector<std::vector<Entry>> lists(runs);
    for (int r = 0; r < pattern.rows; ++r) {
      for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
        const uint16_t c = pattern.col_indices[e];
        if (Kept(kept, e)) lists[by_columns ? c : r].push_back({static_cast<uint16_t>(by_columns ? r : c), w[e]});
      }
    }
    for (const std::vector<Entry>& list : lists) {
      for (const Entry& entry : list) {
        indices.push_back(entry.index);
        values.push_back(entry.value);
      }
      offsets.push_back(static_cast<uint32_t>(indices.size()));
    }
  }
  CsrView view(int rows, int cols) const { return {rows, cols, offsets.data(), indices.data(), values.data()}; }

  struct Entry {
    uint16_t index;
    float value;
  };
  std::vector<uint32_t> offsets{0};
  std::vector<uint16_t> indices;
  std::vector<float> values;
};

}  // namespace

void CandidateForward(const PatternView& pattern, const float* w, const uint64_t* kept, ConstTile x, const float* bias,
                      Tile y) {
  const KeptEntries rows(pattern, w, kept, false);
  ref::Spmm(rows.view(pattern.rows, pattern.cols), x, bias, y);
}

void CandidateBackward(const PatternView& pattern, const float* w, const uint64_t* kept, ConstTile dy, Tile dx) {
  const KeptEntries columns(pattern, w, kept, true);
  ref::Spmm(columns.view(pattern.cols, pattern.rows), dy, nullptr, dx);
}

void CandidateGradient(const PatternView& pattern, ConstTile dy, ConstTile x, float* dw) {
  for (int r = 0; r < pattern.rows; ++r) {
    for (uint32_t e = pattern.row_offsets[r]; e < pattern.row_offsets[r + 1]; ++e) {
      dw[e] += Dot(dy.row(r), x.row(pattern.col_indices[e]));
    }
  }
}

}  // namespace filigree::kernels::ref
