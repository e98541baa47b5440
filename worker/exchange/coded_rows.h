#ifndef FILIGREE_WORKER_EXCHANGE_CODED_ROWS_H_
#define FILIGREE_WORKER_EXCHANGE_CODED_ROWS_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

// Some rows of a table as bytes: 8 bytes, the length of the list; the list (kernels/gradcodec/index_list.h); the rows.

namespace filigree::exchange {

// rows: ascending, counted from `origin`, below `bound` from there.
int64_t CodedRowsBytes(std::span<const uint32_t> rows, int64_t bound, int64_t cols);

// row(i): the values of rows[i].
void EncodeRows(std::span<const uint32_t> rows, int64_t bound, int64_t cols, const std::vector<const float*>& values,
                std::span<uint8_t> out);

// Values are where they arrived, not aligned: copied out by CopyRow.
struct CodedRows {
  std::vector<uint32_t> rows;
  const uint8_t* values = nullptr;

  void CopyRow(size_t i, int64_t cols, float* to) const {
    std::memcpy(to, values + i * static_cast<size_t>(cols) * sizeof(float), static_cast<size_t>(cols) * sizeof(float));
  }
};
absl::StatusOr<CodedRows> DecodeRows(std::span<const uint8_t> bytes, int64_t bound, int64_t cols);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_CODED_ROWS_H_
