#include "worker/exchange/local_matrices.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/weight_topk/scan.h"

namespace filigree::exchange {
namespace {

using kernels::Entry;
using kernels::Unit;

constexpr int64_t kEntriesPerTask = int64_t{1} << 16;

int64_t UnitsOf(const kernels::WeightSelection& s) {
  return s.unit == Unit::kRow ? s.rows : s.unit == Unit::kColumn ? s.cols : 0;
}

void CheckPart(const kernels::WeightSelection& s, bool has_units, const MatrixPart& part) {
  const Slice& p = part.slice;
  CHECK(0 <= p.row_begin && p.row_begin <= p.row_end && p.row_end <= s.rows && 0 <= p.col_begin &&
            p.col_begin <= p.col_end && p.col_end <= s.cols && part.stride >= p.cols(),
        "a part of rows {} to {} and columns {} to {} of {} x {} entries", p.row_begin, p.row_end, p.col_begin,
        p.col_end, s.rows, s.cols);
  if (p.numel() == 0 || !has_units) return;
  CHECK(s.unit == Unit::kRow ? p.cols() == s.cols : p.rows() == s.rows,
        "a part of rows {} to {} and columns {} to {} cuts units of a matrix of {} x {} entries", p.row_begin,
        p.row_end, p.col_begin, p.col_end, s.rows, s.cols);
}

}  // namespace

void LocalMatrices::Begin(std::span<const ShardedMatrix> matrices) {
  matrices_.clear();
  tasks_.clear();
  for (const ShardedMatrix& in : matrices) {
    AddMatrix(in);
    LocalMatrix& matrix = matrices_.back();
    std::fill_n(in.kept, (matrix.numel + 63) / 64, 0);
    if (in.selection.unit == Unit::kColumn && matrix.alive > 0) TakeColumns(matrix);
    AddTasks(matrices_.size() - 1);
  }
}

void LocalMatrices::AddMatrix(const ShardedMatrix& in) {
  const kernels::WeightSelection& s = in.selection;
  LocalMatrix m;
  m.in = &in;
  m.numel = s.rows * s.cols;
  CHECK(m.numel < int64_t{1} << 32 && 0 <= s.k && s.k <= m.numel, "k = {} of {} x {} entries", s.k, s.rows, s.cols);
  const int64_t length = s.unit == Unit::kRow ? s.cols : s.rows;
  m.alive = s.unit == Unit::kNone ? 0 : std::min<int64_t>(std::max(s.min_alive, 0), length);
  m.by_units = UnitsOf(s) * m.alive;
  CHECK(m.by_units <= s.k, "min_alive = {} for {} units of {} entries asks for more than k = {}", s.min_alive,
        UnitsOf(s), length, s.k);
  for (const MatrixPart& part : in.parts) {
    CheckPart(s, m.alive > 0, part);
    const Slice& p = part.slice;
    if (p.numel() > 0) m.own_rest += p.numel() - (s.unit == Unit::kRow ? p.rows() : p.cols()) * m.alive;
  }
  matrices_.push_back(std::move(m));
}

void LocalMatrices::AddTasks(size_t matrix) {
  const auto& [rows, cols, k, min_alive, unit] = matrices_[matrix].in->selection;
  if (matrices_[matrix].numel == 0 || matrices_[matrix].in->parts.empty()) return;
  const int64_t rows_a_task = (std::max<int64_t>(1, kEntriesPerTask / cols) + 63) / 64 * 64;
  for (int64_t row = 0; row < rows; row += rows_a_task) {
    LocalTask task;
    task.matrix = matrix;
    task.row_begin = row;
    task.row_end = std::min(rows, row + rows_a_task);
    tasks_.push_back(std::move(task));
  }
}

void LocalMatrices::TakeColumns(LocalMatrix& matrix) {
  constexpr int64_t kColumns = 64;  // a strip of them stays in the cache
  const int64_t rows = matrix.in->selection.rows, cols = matrix.in->selection.cols, alive = matrix.alive;
  for (const MatrixPart& part : matrix.in->parts) {
    if (part.slice.numel() == 0) continue;
    const int64_t before = std::ssize(matrix.best), n = part.slice.cols();
    matrix.best.resize(before + n * alive);
    Entry* best = matrix.best.data() + before;
    pool_.Run((n + kColumns - 1) / kColumns, [&](int64_t strip, int) {
      const int64_t first = strip * kColumns, count = std::min(kColumns, n - first);
      kernels::TopOfColumns(part.w, rows, part.stride, first, count, alive, best + first * alive);
    });
    // From where they lie in the part to where they are in the matrix.
    for (int64_t i = 0; i < n * alive; ++i) {
      const int64_t at = kernels::IndexOf(best[i]), r = at / part.stride, c = at % part.stride;
      best[i] = kernels::MakeEntry(kernels::BitsOf(best[i]), r * cols + part.slice.col_begin + c);
      kernels::Keep(kernels::IndexOf(best[i]), matrix.in->kept);
    }
  }
}

void LocalMatrices::ForEachRunOf(const LocalTask& task,
                                 const std::function<void(const float*, int64_t, int64_t)>& f) const {
  const ShardedMatrix& in = *matrices_[task.matrix].in;
  ForEachRun(in.parts, in.selection.cols, task.row_begin, task.row_end, f);
}

void LocalMatrices::TakeRows(LocalTask& task) {
  const LocalMatrix& matrix = matrices_[task.matrix];
  if (task.has_best || matrix.in->selection.unit != Unit::kRow || matrix.alive == 0) return;
  task.has_best = true;
  const int64_t cols = matrix.in->selection.cols;
  ForEachRunOf(task, [&](const float* w, int64_t index, int64_t n) {
    for (int64_t first = 0; first < n; first += cols) {
      task.best.resize(task.best.size() + matrix.alive);
      Entry* best = task.best.data() + task.best.size() - matrix.alive;
      kernels::TopOfRow(w + first, index + first, cols, matrix.alive, best);
      for (int64_t i = 0; i < matrix.alive; ++i) kernels::Keep(kernels::IndexOf(best[i]), matrix.in->kept);
    }
  });
}

uint64_t LocalMatrices::Count(size_t task_index, const Look& look, uint64_t* inside) {
  LocalTask& task = tasks_[task_index];
  const LocalMatrix& matrix = matrices_[task.matrix];
  TakeRows(task);
  uint64_t above = 0;
  const auto take_out = [&](const std::vector<Entry>& best) {
    for (const Entry e : best) {
      const int64_t bits = kernels::BitsOf(e);
      if (bits >= look.end) --above;
      if (look.begin <= bits && bits < look.end) --inside[(bits - look.begin) >> look.shift];
    }
  };
  take_out(task.best);
  if (task.row_begin == 0) take_out(matrix.best);
  if (!look.outside && task.list_begin <= look.begin && look.end <= task.list_end) {
    for (const Entry e : task.list.entries) {
      const int64_t bits = kernels::BitsOf(e);
      if (look.begin <= bits && bits < look.end) ++inside[(bits - look.begin) >> look.shift];
    }
    return above;
  }
  const bool everything = look.begin == 0 && look.end == kMagnitudes;
  const int64_t entries = (task.row_end - task.row_begin) * matrix.in->selection.cols;
  task.list.Clear(everything ? 0 : static_cast<size_t>(entries / 8 + 64));
  const bool mark = look.outside && look.end < kMagnitudes;
  ForEachRunOf(task, [&](const float* w, int64_t index, int64_t n) {
    above += ScanRun(w, index, n, look, inside, task.list, mark ? matrix.in->kept : nullptr);
  });
  if (mark) task.marked_from = look.end;
  task.list_begin = look.begin;
  task.list_end = task.list.overflown ? look.begin : look.end;
  return above;
}

void LocalMatrices::Unmark(size_t task_index) {
  LocalTask& task = tasks_[task_index];
  const LocalMatrix& matrix = matrices_[task.matrix];
  const int64_t begin = task.row_begin * matrix.in->selection.cols, end = task.row_end * matrix.in->selection.cols;
  std::fill(matrix.in->kept + begin / 64, matrix.in->kept + (end + 63) / 64, 0);
  task.marked_from = kMagnitudes;
  for (const Entry e : task.best) kernels::Keep(kernels::IndexOf(e), matrix.in->kept);
  for (const Entry e : matrix.best) {
    const int64_t index = kernels::IndexOf(e);
    if (begin <= index && index < end) kernels::Keep(index, matrix.in->kept);
  }
}

std::vector<int64_t> LocalMatrices::Ties(size_t task_index, int64_t magnitude) const {
  const LocalTask& task = tasks_[task_index];
  const uint64_t* kept = matrices_[task.matrix].in->kept;
  std::vector<int64_t> ties;
  const auto take = [&](int64_t index) {
    if (!kernels::IsKept(kept, index)) ties.push_back(index);
  };
  if (task.list_begin <= magnitude && magnitude < task.list_end) {
    for (const Entry e : task.list.entries) {
      if (kernels::BitsOf(e) == magnitude) take(kernels::IndexOf(e));
    }
    return ties;
  }
  ForEachRunOf(task, [&](const float* w, int64_t index, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      if (kernels::MagnitudeBits(w[i]) == magnitude) take(index + i);
    }
  });
  return ties;
}

void LocalMatrices::Mark(size_t task_index, int64_t least) {
  LocalTask& task = tasks_[task_index];
  TakeRows(task);
  uint64_t* kept = matrices_[task.matrix].in->kept;
  if (least >= task.marked_from) return;
  if (task.list_end == task.marked_from && task.list_begin <= least) {
    for (const Entry e : task.list.entries) {
      if (kernels::BitsOf(e) >= least) kernels::Keep(kernels::IndexOf(e), kept);
    }
    return;
  }
  ForEachRunOf(task, [&](const float* w, int64_t index, int64_t n) { MarkRun(w, index, n, least, kept); });
}

}  // namespace filigree::exchange
