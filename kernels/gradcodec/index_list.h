#ifndef FILIGREE_KERNELS_GRADCODEC_INDEX_LIST_H_
#define FILIGREE_KERNELS_GRADCODEC_INDEX_LIST_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Ascending lists of indices below a bound that both sides know (the entries of a matrix), in as few bits as a random
// subset of that density needs, within a twentieth.
//
//   one byte     which of four forms follows; the encoder takes the shortest
//     0          no index
//     1          every index
//     2          a bitmap: bit i % 8 of byte i / 8, ceil(bound / 8) bytes, unused bits 0
//     3          gaps: the count, 32 bits; then blocks of 128 gaps (the last one: what is left), one behind the
//                other bit by bit, lowest bit first; unused bits of the last byte 0
//   gap          index - previous index - 1; the one before the first is -1
//   a block      5 bits: how many low bits of a gap stand as they are, chosen for the block;
//                those low bits of each gap; then of each gap what is above them, in unary: so many 0 and a 1
//
// Source         Rice 1979; Golomb 1966: the gaps of a random subset are geometric, for which this code is within
//                0.1 bits of the entropy. A parameter for every 128 gaps follows lists that are dense in places.
// Size           known before anything is written, and never more than a bitmap's but for the byte.
// Hostile bytes  every read is checked: a list that is cut off, has stray bits, or an index beyond the bound is
//                refused. IndexCount bounds what a reader has to allocate: at most 8 indices a byte, but for form 1,
//                and never more than the bound.
// Threads        on the calling thread.

namespace filigree::kernels {

// indices: strictly ascending, below `bound` <= 2^32.
int64_t EncodedIndexBytes(std::span<const uint32_t> indices, int64_t bound);

// Fills `out`, which has EncodedIndexBytes bytes.
void EncodeIndices(std::span<const uint32_t> indices, int64_t bound, std::span<uint8_t> out);

// How many indices the list says it has. `bytes` is the whole list.
absl::StatusOr<int64_t> IndexCount(std::span<const uint8_t> bytes, int64_t bound);

// Fills `out`, which has IndexCount elements. Unspecified where it fails. Both errors: InvalidArgument.
absl::Status DecodeIndices(std::span<const uint8_t> bytes, int64_t bound, std::span<uint32_t> out);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GRADCODEC_INDEX_LIST_H_
