#include "kernels/embedding/sparse_embedding.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"

namespace filigree::kernels {
namespace {

// Entries of the rows that the tokens have in [row_begin, row_end).
double EntriesOf(const PatternView& table, const int32_t* token, int row_begin, int row_end) {
  int64_t entries = 0;
  for (int t = 0; t < kTileTokens; ++t) {
    if (token[t] < row_begin || token[t] >= row_end) continue;
    entries += table.row_offsets[token[t] + 1] - table.row_offsets[token[t]];
  }
  return static_cast<double>(entries);
}

}  // namespace

void GatherSparseRows(const PatternView& table, const float* values, const int32_t* token, Tile x) {
  CHECK(x.channels == table.cols, "{} channels, a table of {} columns", x.channels, table.cols);
  const TraceSpan span("gather_sparse_rows", [&] {
    const double entries = EntriesOf(table, token, 0, table.rows);
    return TraceWork{.bytes = 4 * static_cast<double>(x.size()) + 10 * entries, .level = TraceLevel::kMemory};
  });
  std::fill_n(x.data, x.size(), 0.0f);
  for (int t = 0; t < kTileTokens; ++t) {
    if (token[t] < 0) continue;
    const uint32_t end = table.row_offsets[token[t] + 1];
    for (uint32_t e = table.row_offsets[token[t]]; e < end; ++e) x.at(table.col_indices[e], t) = values[e];
  }
}

void ScatterAddSparseRows(ConstTile dx, const int32_t* token, int row_begin, int row_end, const PatternView& table,
                          float* gradient) {
  CHECK(dx.channels == table.cols, "{} channels, a table of {} columns", dx.channels, table.cols);
  CHECK(0 <= row_begin && row_begin <= row_end && row_end <= table.rows, "rows [{}, {}) of {}", row_begin, row_end,
        table.rows);
  const TraceSpan span("scatter_add_sparse_rows", [&] {
    const double entries = EntriesOf(table, token, row_begin, row_end);
    return TraceWork{.flops = entries, .bytes = 14 * entries, .level = TraceLevel::kMemory};
  });
  for (int t = 0; t < kTileTokens; ++t) {
    if (token[t] < row_begin || token[t] >= row_end) continue;
    const uint32_t end = table.row_offsets[token[t] + 1];
    for (uint32_t e = table.row_offsets[token[t]]; e < end; ++e) gradient[e] += dx.at(table.col_indices[e], t);
  }
}

}  // namespace filigree::kernels
