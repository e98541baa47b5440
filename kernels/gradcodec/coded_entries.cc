#include "kernels/gradcodec/coded_entries.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/base/check.h"
#include "kernels/gradcodec/index_list.h"

namespace filigree::kernels {
namespace {

constexpr int64_t kHeader = 8;

// The list of indices in `bytes`.
absl::StatusOr<std::span<const uint8_t>> ListOf(std::span<const uint8_t> bytes) {
  uint64_t length = 0;
  if (bytes.size() >= kHeader) std::memcpy(&length, bytes.data(), kHeader);
  if (bytes.size() < kHeader || length > bytes.size() - kHeader) {
    return absl::InvalidArgumentError(fmt::format(
        "coded entries in {} bytes, of which a list of indices should be {}: they were cut off on their way",
        bytes.size(), length));
  }
  return bytes.subspan(kHeader, length);
}

}  // namespace

template <typename Value>
int64_t CodedEntriesBytes(std::span<const uint32_t> indices, int64_t bound) {
  return kHeader + EncodedIndexBytes(indices, bound) + std::ssize(indices) * static_cast<int64_t>(sizeof(Value));
}

template <typename Value>
void EncodeEntries(std::span<const uint32_t> indices, std::span<const Value> values, int64_t bound,
                   std::span<uint8_t> out) {
  CHECK(indices.size() == values.size(), "{} indices and {} values", indices.size(), values.size());
  CHECK(out.size() >= kHeader + values.size_bytes(), "{} bytes for {} values", out.size(), values.size());
  const uint64_t length = out.size() - kHeader - values.size_bytes();
  std::memcpy(out.data(), &length, kHeader);
  EncodeIndices(indices, bound, out.subspan(kHeader, length));
  if (!values.empty()) std::memcpy(out.data() + kHeader + length, values.data(), values.size_bytes());
}

template <typename Value>
absl::StatusOr<int64_t> EntryCount(std::span<const uint8_t> bytes, int64_t bound) {
  const auto list = ListOf(bytes);
  if (!list.ok()) return list.status();
  absl::StatusOr<int64_t> count = IndexCount(*list, bound);
  if (!count.ok()) return count;
  const int64_t values = std::ssize(bytes) - kHeader - std::ssize(*list);
  if (values != *count * static_cast<int64_t>(sizeof(Value))) {
    return absl::InvalidArgumentError(
        fmt::format("coded entries with {} indices and {} bytes of values, {} a value: "
                    "they were damaged on their way",
                    *count, values, sizeof(Value)));
  }
  return count;
}

template <typename Value>
absl::Status DecodeEntries(std::span<const uint8_t> bytes, int64_t bound, std::span<uint32_t> indices,
                           std::span<Value> values) {
  const absl::StatusOr<int64_t> count = EntryCount<Value>(bytes, bound);
  if (!count.ok()) return count.status();
  CHECK(std::ssize(indices) == *count && std::ssize(values) == *count, "room for {} indices and {} values of {}",
        indices.size(), values.size(), *count);
  if (*count > 0) std::memcpy(values.data(), bytes.data() + bytes.size() - values.size_bytes(), values.size_bytes());
  return DecodeIndices(*ListOf(bytes), bound, indices);
}

template int64_t CodedEntriesBytes<float>(std::span<const uint32_t>, int64_t);
template int64_t CodedEntriesBytes<uint16_t>(std::span<const uint32_t>, int64_t);
template void EncodeEntries(std::span<const uint32_t>, std::span<const float>, int64_t, std::span<uint8_t>);
template void EncodeEntries(std::span<const uint32_t>, std::span<const uint16_t>, int64_t, std::span<uint8_t>);
template absl::StatusOr<int64_t> EntryCount<float>(std::span<const uint8_t>, int64_t);
template absl::StatusOr<int64_t> EntryCount<uint16_t>(std::span<const uint8_t>, int64_t);
template absl::Status DecodeEntries(std::span<const uint8_t>, int64_t, std::span<uint32_t>, std::span<float>);
template absl::Status DecodeEntries(std::span<const uint8_t>, int64_t, std::span<uint32_t>, std::span<uint16_t>);

}  // namespace filigree::kernels
