#include "worker/mask/refresh.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/weight_topk/entry.h"
#include "worker/mask/newcomers.h"
#include "worker/mask/short_lines.h"

namespace filigree::mask {
namespace {

using kernels::IsKept;
using kernels::PatternView;

constexpr int64_t kEntriesPerTask = 1 << 16;
constexpr int kRowsPerDraws = 8;  // that share a line of draws
constexpr int64_t kRowsPerTask = 64;

int64_t TasksOf(int64_t n, int64_t per_task) { return (n + per_task - 1) / per_task; }

// Floats whose magnitude bits rank as entries [first, last) do: the mask above all, then u, NaN last.
void RankEntries(const float* m, const float* v, const uint64_t* kept, float eps, int64_t first, int64_t last,
                 float* rank) {
  constexpr uint32_t kMask = 0x7fffffff, kInfinity = 0x7f800000;
  for (int64_t e = first; e < last; ++e) {
    const float u = std::abs(m[e]) / (std::sqrt(v[e]) + eps);
    const uint32_t bits = std::bit_cast<uint32_t>(u) & kMask;
    rank[e] = std::bit_cast<float>(bits > kInfinity ? 0 : bits + 1);
  }
  for (int64_t word = first / 64; word < (last + 63) / 64; ++word) {
    for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1) {
      rank[word * 64 + std::countr_zero(bits)] = std::bit_cast<float>(kMask);
    }
  }
}

// Bitmap of the mask and of the best others, `count` in all.
kernels::Buffer<uint64_t> WhoStays(const float* m, const float* v, const uint64_t* kept, int64_t n, double eps,
                                   int64_t count, kernels::ThreadPool& pool) {
  kernels::Buffer<float> rank(static_cast<size_t>(n));
  pool.Run(TasksOf(n, kEntriesPerTask), [&](int64_t task, int) {
    const int64_t first = task * kEntriesPerTask, last = std::min(n, first + kEntriesPerTask);
    RankEntries(m, v, kept, static_cast<float>(eps), first, last, rank.data());
  });
  kernels::Buffer<uint64_t> stays(static_cast<size_t>((n + 63) / 64));
  kernels::SelectWeights(rank.data(), {.rows = 1, .cols = n, .k = count}, nullptr, pool, stays.data());
  return stays;
}

kernels::Buffer<uint64_t> AllOf(int64_t n) {
  kernels::Buffer<uint64_t> bits(static_cast<size_t>((n + 63) / 64));
  std::fill(bits.begin(), bits.end(), ~uint64_t{0});
  if (n % 64 != 0) bits[bits.size() - 1] = (uint64_t{1} << (n % 64)) - 1;
  return bits;
}

int64_t Count(const uint64_t* bits, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < (n + 63) / 64; ++i) count += std::popcount(bits[i]);
  return count;
}

// The new set row by row: who stays, who was chosen by name, and how many more a row draws.
class Assembly {
 public:
  Assembly(const RefreshInput& input, kernels::ThreadPool& pool)
      : input_(input),
        old_(input.pattern),
        pool_(pool),
        rows_(input.row_weight, old_.rows),
        columns_(input.col_weight, old_.cols),
        draws_(input.seed, input.stream, input.step) {}

  Membership Build(const kernels::Buffer<uint64_t>& stays, int64_t newcomers) {
    stays_ = stays.data();
    chosen_ = FillShortLines(input_, stays_, newcomers, rows_, columns_, draws_);
    TakeRanked(newcomers);
    IndexChosen();
    MeasureRows();
    shares_ = ShareOut(mass_, room_, newcomers - static_cast<int64_t>(chosen_.size()), draws_);
    return Emit();
  }

 private:
  bool IsTaken(uint32_t index, size_t sorted) const {
    const uint32_t r = index / old_.cols, c = index % old_.cols;
    const uint16_t *begin = old_.col_indices + old_.row_offsets[r], *end = old_.col_indices + old_.row_offsets[r + 1];
    const uint16_t* at = std::lower_bound(begin, end, c);
    if (at != end && *at == c && IsKept(stays_, at - old_.col_indices)) return true;
    return std::binary_search(chosen_.begin(), chosen_.begin() + static_cast<int64_t>(sorted), index);
  }

  void TakeRanked(int64_t newcomers) {
    const size_t before = chosen_.size();
    for (const uint32_t index : input_.ranked) {
      if (static_cast<int64_t>(chosen_.size()) == newcomers) break;
      CHECK(index < static_cast<uint64_t>(old_.rows) * old_.cols, "position {} of {} x {}", index, old_.rows,
            old_.cols);
      if (!IsTaken(index, before)) chosen_.push_back(index);
    }
    std::sort(chosen_.begin(), chosen_.end());
    CHECK(std::adjacent_find(chosen_.begin(), chosen_.end()) == chosen_.end(), "a ranked position named twice");
  }

  void IndexChosen() {
    first_chosen_.assign(static_cast<size_t>(old_.rows) + 1, 0);
    for (const uint32_t index : chosen_) ++first_chosen_[index / old_.cols + 1];
    for (int r = 0; r < old_.rows; ++r) first_chosen_[r + 1] += first_chosen_[r];
  }

  // visit(e) for the entries of a row that stay, ascending: by the set bits, as which are set is chance.
  template <typename Visit>
  void ForStaying(int r, Visit visit) const {
    const uint32_t first = old_.row_offsets[r], last = old_.row_offsets[r + 1];
    for (uint32_t word = first / 64; word * uint64_t{64} < last; ++word) {
      uint64_t bits = stays_[word];
      const uint32_t begin = word * 64;
      if (begin < first) bits &= ~uint64_t{0} << (first - begin);
      if (last - begin < 64) bits &= ~(~uint64_t{0} << (last - begin));
      for (; bits != 0; bits &= bits - 1) visit(begin + static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }

  // visit(first row, past the last, worker).
  template <typename Visit>
  void ForRows(int64_t rows_per_task, Visit visit) {
    pool_.Run(TasksOf(old_.rows, rows_per_task), [&](int64_t task, int worker) {
      const int64_t first = task * rows_per_task;
      visit(static_cast<int>(first), static_cast<int>(std::min<int64_t>(old_.rows, first + rows_per_task)), worker);
    });
  }

  // Free positions of every row, and the weight on them.
  void MeasureRows() {
    room_.resize(old_.rows);
    free_.resize(old_.rows);
    mass_.resize(old_.rows);
    ForRows(kRowsPerTask, [&](int first, int last, int) {
      for (int r = first; r < last; ++r) MeasureRow(r);
    });
  }

  void MeasureRow(int r) {
    int32_t taken = 0;
    double weight = 0;
    ForStaying(r, [&](uint32_t e) {
      ++taken;
      weight += columns_.weight(old_.col_indices[e]);
    });
    for (uint32_t i = first_chosen_[r]; i < first_chosen_[r + 1]; ++i) {
      ++taken;
      weight += columns_.weight(static_cast<int>(chosen_[i] % old_.cols));
    }
    room_[r] = old_.cols - taken;
    free_[r] = std::max(0.0, columns_.total() - weight);
    mass_[r] = rows_.weight(r) * free_[r];
  }

  Membership Emit() {
    Membership next;
    int64_t total = 0;
    for (int r = 0; r < old_.rows; ++r) total += old_.cols - room_[r] + shares_[r];
    next.pattern = kernels::Pattern(old_.rows, old_.cols, total);
    next.source = kernels::Buffer<uint32_t>(static_cast<size_t>(total));
    uint32_t* offsets = next.pattern.row_offsets();
    for (int r = 0; r < old_.rows; ++r) offsets[r + 1] = offsets[r] + old_.cols - room_[r] + shares_[r];
    std::vector<Scratch> scratch(pool_.threads());
    ForRows(kRowsPerTask, [&](int first, int last, int worker) {
      for (int group = first; group < last; group += kRowsPerDraws) {
        DrawReader reader(draws_, Draws::Row(group));
        for (int r = group; r < std::min(group + kRowsPerDraws, last); ++r) {
          EmitRow(r, reader, scratch[worker], next.pattern.col_indices() + offsets[r], next.source.data() + offsets[r]);
        }
      }
    });
    return next;
  }

  // What a worker keeps of a row: who stays, and the positions that are taken.
  struct Scratch {
    std::vector<uint16_t> columns;
    std::vector<uint32_t> entries;
    std::vector<uint64_t> taken;
  };

  void EmitRow(int r, DrawReader& reader, Scratch& s, uint16_t* columns, uint32_t* source) const {
    const size_t most = old_.row_offsets[r + 1] - old_.row_offsets[r];
    s.taken.assign((static_cast<size_t>(old_.cols) + 63) / 64, 0);
    s.columns.resize(std::max(s.columns.size(), most + 2));
    s.entries.resize(s.columns.size());
    size_t staying = 0;
    ForStaying(r, [&](uint32_t e) {
      s.columns[staying] = old_.col_indices[e];
      s.entries[staying++] = e;
      kernels::Keep(old_.col_indices[e], s.taken.data());
    });
    for (size_t i = staying; i < staying + 2; ++i) {  // column 0 once at most, and then it is a newcomer
      s.columns[i] = 0;
      s.entries[i] = kNewcomer;
    }
    for (uint32_t i = first_chosen_[r]; i < first_chosen_[r + 1]; ++i) {
      kernels::Keep(chosen_[i] % static_cast<uint32_t>(old_.cols), s.taken.data());
    }
    columns_.Take(draws_, Draws::Row(r), reader, shares_[r], free_[r] / columns_.total(), s.taken.data());
    Merge(s, columns, source);
  }

  // Without branches on who stays, as that is chance: is_new has all bits set or none, as a newcomer's source has.
  static void Merge(const Scratch& s, uint16_t* columns, uint32_t* source) {
    const uint16_t* old = s.columns.data();
    const uint32_t* entries = s.entries.data();
    for (size_t word = 0; word < s.taken.size(); ++word) {
      for (uint64_t bits = s.taken[word]; bits != 0; bits &= bits - 1) {
        const auto c = static_cast<uint16_t>(word * 64 + std::countr_zero(bits));
        const uint32_t is_new = *old == c ? 0 : kNewcomer;
        *columns++ = c;
        *source++ = *entries | is_new;
        old += is_new + 1;
        entries += is_new + 1;
      }
    }
  }

  const RefreshInput& input_;
  const PatternView& old_;
  kernels::ThreadPool& pool_;
  const Sampler rows_, columns_;
  const Draws draws_;
  const uint64_t* stays_ = nullptr;
  std::vector<uint32_t> chosen_;        // newcomers chosen by name: global indices, ascending
  std::vector<uint32_t> first_chosen_;  // of a row in chosen_
  std::vector<int32_t> room_;           // free positions of a row
  std::vector<double> free_, mass_;     // the columns' weight on them; that, times the row's
  std::vector<int32_t> shares_;         // positions a row draws
};

// Every position.
Membership Everything(const PatternView& old) {
  Membership all;
  all.pattern = kernels::Pattern::Full(old.rows, old.cols);
  all.source = kernels::Buffer<uint32_t>(static_cast<size_t>(all.pattern.nnz()));
  std::fill(all.source.begin(), all.source.end(), kNewcomer);
  for (int r = 0; r < old.rows; ++r) {
    for (uint32_t e = old.row_offsets[r]; e < old.row_offsets[r + 1]; ++e) {
      all.source[static_cast<size_t>(r) * old.cols + old.col_indices[e]] = e;
    }
  }
  return all;
}

}  // namespace

Membership Refresh(const RefreshInput& input, kernels::ThreadPool& pool) {
  if (input.kept == nullptr && input.pattern.nnz() > 0) {
    const kernels::Buffer<uint64_t> all = AllOf(input.pattern.nnz());
    RefreshInput with_mask = input;
    with_mask.kept = all.data();
    return Refresh(with_mask, pool);
  }
  const PatternView& old = input.pattern;
  const int64_t numel = int64_t{old.rows} * old.cols, nnz = old.nnz();
  const int64_t k = Count(input.kept, nnz);
  CHECK(k <= input.candidates && input.candidates <= numel, "{} candidates of {} x {} positions, {} in the mask",
        input.candidates, old.rows, old.cols, k);
  CHECK(0 <= input.drop && input.drop <= 1, "drop = {}", input.drop);
  if (input.candidates == numel) return Everything(old);
  const kernels::TraceSpan span("refresh", [&] {
    const auto entries = static_cast<double>(nnz), next = static_cast<double>(input.candidates);
    return kernels::TraceWork{
        .bytes = 10.125 * entries + 6 * next, .level = kernels::TraceLevel::kMemory, .threads = pool.threads()};
  });
  const auto most = static_cast<int64_t>((1 - input.drop) * static_cast<double>(input.candidates - k));
  const int64_t staying = k + std::min(most, nnz - k);
  Assembly assembly(input, pool);
  return assembly.Build(WhoStays(input.m, input.v, input.kept, nnz, input.eps, staying, pool),
                        input.candidates - staying);
}

Membership Narrow(const NarrowInput& input, kernels::ThreadPool& pool) {
  const int64_t numel = int64_t{input.rows} * input.cols;
  const int64_t k = input.kept == nullptr ? numel : Count(input.kept, numel);
  CHECK(k <= input.candidates && input.candidates <= numel, "{} candidates of {} x {} positions, {} in the mask",
        input.candidates, input.rows, input.cols, k);
  const kernels::Buffer<uint64_t> stays =
      k == numel ? AllOf(numel) : WhoStays(input.m, input.v, input.kept, numel, input.eps, input.candidates, pool);
  Membership next;
  next.pattern = kernels::Pattern::FromDenseBitmap(input.rows, input.cols, stays.data());
  next.source = kernels::Buffer<uint32_t>(static_cast<size_t>(input.candidates));
  uint32_t* to = next.source.data();
  for (size_t word = 0; word < stays.size(); ++word) {
    for (uint64_t bits = stays[word]; bits != 0; bits &= bits - 1) {
      *to++ = static_cast<uint32_t>(word * 64 + std::countr_zero(bits));
    }
  }
  return next;
}

}  // namespace filigree::mask
