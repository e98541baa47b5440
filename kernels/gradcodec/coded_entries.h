#ifndef FILIGREE_KERNELS_GRADCODEC_CODED_ENTRIES_H_
#define FILIGREE_KERNELS_GRADCODEC_CODED_ENTRIES_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Some entries of an array as one run of bytes: where they are and what they are worth.
//
//   8 bytes        length of the list of indices, in bytes
//   the list       kernels/gradcodec/index_list.h
//   values         one an index: 4 bytes (fp32) or 2 (bf16), little-endian
//
// Values are bits to it: NaN and signed zeros arrive as they were sent.

namespace filigree::kernels {

// Value is float or uint16_t (bf16). indices: strictly ascending, below `bound` <= 2^32; as many values.
template <typename Value>
int64_t CodedEntriesBytes(std::span<const uint32_t> indices, int64_t bound);

// Fills `out`, which has CodedEntriesBytes bytes.
template <typename Value>
void EncodeEntries(std::span<const uint32_t> indices, std::span<const Value> values, int64_t bound,
                   std::span<uint8_t> out);

// How many entries there are in `bytes`, all of them: at most their number, or `bound`, whichever is less.
// InvalidArgument where they do not hold together.
template <typename Value>
absl::StatusOr<int64_t> EntryCount(std::span<const uint8_t> bytes, int64_t bound);

// Fills both, which have EntryCount elements. Unspecified where it fails: InvalidArgument.
template <typename Value>
absl::Status DecodeEntries(std::span<const uint8_t> bytes, int64_t bound, std::span<uint32_t> indices,
                           std::span<Value> values);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GRADCODEC_CODED_ENTRIES_H_
