#include "worker/mask/short_lines.h"

#include <algorithm>
#include <bit>

#include "kernels/weight_topk/entry.h"

namespace filigree::mask {
namespace {

using kernels::IsKept;
using kernels::Unit;

// The lines of one direction, with the places on them that are taken.
class Lines {
 public:
  // `chosen`: newcomers so far.
  Lines(const RefreshInput& input, const uint64_t* stays, const std::vector<uint32_t>& chosen, Unit direction)
      : rows_(direction == Unit::kRow), cols_(input.pattern.cols), length_(rows_ ? cols_ : input.pattern.rows) {
    const kernels::PatternView& p = input.pattern;
    const int lines = rows_ ? p.rows : p.cols;
    in_mask_.resize(lines);
    first_.resize(static_cast<size_t>(lines) + 1);
    const auto each = [&](auto visit) {
      for (int r = 0; r < p.rows; ++r) {
        for (uint32_t e = p.row_offsets[r]; e < p.row_offsets[r + 1]; ++e) {
          if (IsKept(stays, e))
            visit(rows_ ? r : p.col_indices[e], rows_ ? p.col_indices[e] : r, IsKept(input.kept, e));
        }
      }
      for (const uint32_t i : chosen) {
        const int r = static_cast<int>(i / cols_), c = static_cast<int>(i % cols_);
        visit(rows_ ? r : c, rows_ ? c : r, false);
      }
    };
    each([&](int line, int, bool kept) {
      ++first_[line + 1];
      in_mask_[line] += kept ? 1 : 0;
    });
    for (int line = 0; line < lines; ++line) first_[line + 1] += first_[line];
    place_.resize(first_[lines]);
    std::vector<uint32_t> next(first_.begin(), first_.end() - 1);
    each([&](int line, int place, bool) { place_[next[line]++] = static_cast<uint16_t>(place); });
  }

  int count() const { return static_cast<int>(in_mask_.size()); }

  // How many newcomers a line needs and has room for.
  int64_t Missing(int line, int64_t candidates, int64_t reserve) const {
    const int64_t has = first_[line + 1] - first_[line], in_reserve = has - in_mask_[line];
    return std::clamp<int64_t>(std::max(candidates - has, reserve - in_reserve), 0, length_ - has);
  }

  void Fill(int line, int64_t count, const Sampler& places, const Draws& draws, std::vector<uint32_t>& chosen) const {
    std::vector<uint64_t> taken((static_cast<size_t>(length_) + 63) / 64);
    for (uint32_t i = first_[line]; i < first_[line + 1]; ++i) kernels::Keep(place_[i], taken.data());
    const std::vector<uint64_t> before = taken;
    places.Take(draws, rows_ ? Draws::ShortRow(line) : Draws::ShortColumn(line), count, taken.data());
    for (size_t word = 0; word < taken.size(); ++word) {
      for (uint64_t bits = taken[word] & ~before[word]; bits != 0; bits &= bits - 1) {
        const auto place = static_cast<uint32_t>(word * 64 + std::countr_zero(bits));
        const auto at = static_cast<uint32_t>(line);
        chosen.push_back(rows_ ? at * cols_ + place : place * cols_ + at);
      }
    }
  }

 private:
  const bool rows_;
  const uint32_t cols_;
  const int64_t length_;
  std::vector<int32_t> in_mask_;
  std::vector<uint32_t> first_;  // of a line in place_
  std::vector<uint16_t> place_;
};

}  // namespace

std::vector<uint32_t> FillShortLines(const RefreshInput& input, const uint64_t* stays, int64_t newcomers,
                                     const Sampler& rows, const Sampler& columns, const Draws& draws) {
  std::vector<uint32_t> chosen;
  for (const Unit direction : {Unit::kColumn, Unit::kRow}) {
    const int64_t candidates = input.unit == direction ? input.unit_candidates : 0;
    if (candidates <= 0 && input.line_reserve <= 0) continue;
    const Lines lines(input, stays, chosen, direction);
    for (int line = 0; line < lines.count(); ++line) {
      const int64_t left = newcomers - static_cast<int64_t>(chosen.size());
      const int64_t count = std::min(lines.Missing(line, candidates, input.line_reserve), left);
      if (count > 0) lines.Fill(line, count, direction == Unit::kRow ? columns : rows, draws, chosen);
    }
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace filigree::mask
