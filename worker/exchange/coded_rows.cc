#include "worker/exchange/coded_rows.h"

#include <fmt/format.h>

#include "kernels/gradcodec/index_list.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kHeader = 8;

int64_t RowBytes(int64_t cols) { return cols * static_cast<int64_t>(sizeof(float)); }

}  // namespace

int64_t CodedRowsBytes(std::span<const uint32_t> rows, int64_t bound, int64_t cols) {
  return kHeader + kernels::EncodedIndexBytes(rows, bound) + std::ssize(rows) * RowBytes(cols);
}

void EncodeRows(std::span<const uint32_t> rows, int64_t bound, int64_t cols, const std::vector<const float*>& values,
                std::span<uint8_t> out) {
  const int64_t list = std::ssize(out) - kHeader - std::ssize(rows) * RowBytes(cols);
  std::memcpy(out.data(), &list, kHeader);
  kernels::EncodeIndices(rows, bound, out.subspan(kHeader, static_cast<size_t>(list)));
  uint8_t* to = out.data() + kHeader + list;
  for (const float* row : values) {
    std::memcpy(to, row, static_cast<size_t>(RowBytes(cols)));
    to += RowBytes(cols);
  }
}

absl::StatusOr<CodedRows> DecodeRows(std::span<const uint8_t> bytes, int64_t bound, int64_t cols) {
  uint64_t length = 0;
  if (std::ssize(bytes) >= kHeader) std::memcpy(&length, bytes.data(), kHeader);
  if (std::ssize(bytes) < kHeader || length > bytes.size() - kHeader) {
    return absl::InvalidArgumentError(fmt::format("coded rows in {} bytes were cut off on their way", bytes.size()));
  }
  const auto list = bytes.subspan(kHeader, length);
  const absl::StatusOr<int64_t> count = kernels::IndexCount(list, bound);
  if (!count.ok()) return count.status();
  if (std::ssize(bytes) - kHeader - std::ssize(list) != *count * RowBytes(cols)) {
    return absl::InvalidArgumentError(fmt::format(
        "{} coded rows of {} columns in {} bytes: the ranks do not hold the same table", *count, cols, bytes.size()));
  }
  CodedRows rows;
  rows.rows.resize(*count);
  absl::Status status = kernels::DecodeIndices(list, bound, rows.rows);
  if (!status.ok()) return status;
  rows.values = bytes.data() + kHeader + length;
  return rows;
}

}  // namespace filigree::exchange
