#include "kernels/gradcodec/index_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/base/check.h"
#include "kernels/base/trace.h"
#include "kernels/gradcodec/bits.h"

namespace filigree::kernels {
namespace {

enum Form : uint8_t { kNone = 0, kAll = 1, kBitmap = 2, kGaps = 3 };

constexpr int64_t kBlock = 128, kGapsHeader = 1 + 4;
constexpr int kParameterBits = 5;

struct Block {
  int64_t count = 0;
  int low_bits = 0;
  uint64_t bits = 0;  // of all of it
  uint32_t gaps[kBlock];
};

uint64_t UpperSum(const Block& block, int low_bits) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < block.count; ++i) sum += block.gaps[i] >> low_bits;
  return sum;
}

// The block that begins at indices[first]. The cost of l low bits, n (1 + l) + sum of gap >> l, is convex in l: what
// one more of them saves, the sum of (gap >> l + 1) / 2, falls.
void MakeBlock(std::span<const uint32_t> indices, int64_t first, Block& block) {
  block.count = std::min<int64_t>(kBlock, std::ssize(indices) - first);
  const uint32_t* index = indices.data() + first;
  block.gaps[0] = first == 0 ? index[0] : index[0] - index[-1] - 1;
  for (int64_t i = 1; i < block.count; ++i) block.gaps[i] = index[i] - index[i - 1] - 1;
  const auto cost = [&](int l) { return static_cast<uint64_t>(block.count * (1 + l)) + UpperSum(block, l); };
  const uint64_t sum = UpperSum(block, 0);
  const int64_t last = index[block.count - 1], before = first == 0 ? -1 : int64_t{index[-1]};
  CHECK(static_cast<int64_t>(sum) + block.count == last - before, "indices {} to {} do not ascend", first,
        first + block.count - 1);
  const uint64_t mean = sum / static_cast<uint64_t>(block.count);
  int l = std::min(std::max<int>(static_cast<int>(std::bit_width(mean)) - 1, 0), 31);
  uint64_t best = cost(l);
  for (uint64_t less; l > 0 && (less = cost(l - 1)) <= best; --l) best = less;
  for (uint64_t less; l < 31 && (less = cost(l + 1)) < best; ++l) best = less;
  block.low_bits = l;
  block.bits = kParameterBits + best;
}

int64_t BitmapBytes(int64_t bound) { return (bound + 7) / 8; }

// The shortest form, and how long it is.
struct Choice {
  Form form;
  int64_t bytes;
};
Choice Choose(std::span<const uint32_t> indices, int64_t bound) {
  const int64_t count = std::ssize(indices);
  CHECK(0 <= bound && bound <= int64_t{1} << 32 && count <= bound, "{} indices below {}", count, bound);
  CHECK(count == 0 || indices.back() < bound, "index {} of {}", indices.back(), bound);
  if (count == 0) return {kNone, 1};
  if (count == bound) return {kAll, 1};
  const Choice bitmap = {kBitmap, 1 + BitmapBytes(bound)};
  // Unary alone takes a bit an index.
  if (kGapsHeader + count / 8 >= bitmap.bytes) return bitmap;
  uint64_t bits = 0;
  Block block;
  for (int64_t first = 0; first < count; first += kBlock) {
    MakeBlock(indices, first, block);
    bits += block.bits;
  }
  const int64_t bytes = kGapsHeader + static_cast<int64_t>((bits + 7) / 8);
  return bytes < bitmap.bytes ? Choice{kGaps, bytes} : bitmap;
}

void EncodeBitmap(std::span<const uint32_t> indices, std::span<uint8_t> out) {
  std::fill(out.begin(), out.end(), 0);
  for (const uint32_t i : indices) out[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
}

uint8_t* EncodeGaps(std::span<const uint32_t> indices, uint8_t* out) {
  const auto count = static_cast<uint32_t>(indices.size());
  std::memcpy(out, &count, 4);
  BitWriter writer(out + 4);
  Block block;
  for (int64_t first = 0; first < count; first += kBlock) {
    MakeBlock(indices, first, block);
    const uint64_t mask = (uint64_t{1} << block.low_bits) - 1;
    writer.Put(static_cast<uint64_t>(block.low_bits), kParameterBits);
    for (int64_t i = 0; i < block.count; ++i) writer.Put(block.gaps[i] & mask, block.low_bits);
    for (int64_t i = 0; i < block.count; ++i) writer.PutUnary(block.gaps[i] >> block.low_bits);
  }
  return writer.Finish();
}

absl::Status Refuse(const std::string& why, std::span<const uint8_t> bytes, int64_t bound) {
  return absl::InvalidArgumentError(
      fmt::format("a coded list of indices below {} in {} bytes: {}; it was damaged on its way, or its sender and its "
                  "reader do not speak of the same matrix",
                  bound, bytes.size(), why));
}

uint32_t GapsCount(std::span<const uint8_t> bytes) {
  uint32_t count;
  std::memcpy(&count, bytes.data() + 1, 4);
  return count;
}

int64_t CountBits(std::span<const uint8_t> bitmap) {
  int64_t count = 0;
  for (const uint8_t byte : bitmap) count += std::popcount(byte);
  return count;
}

void DecodeBitmap(std::span<const uint8_t> bitmap, uint32_t* out) {
  for (uint64_t at = 0; at < bitmap.size(); at += 8) {
    for (uint64_t bits = BitsAt(bitmap, at * 8); bits != 0; bits &= bits - 1) {
      *out++ = static_cast<uint32_t>(at * 8 + std::countr_zero(bits));
    }
  }
}

// One block of `count` gaps at bit `at`, which moves behind it. `index` is the last index before, and then its last.
// False where an index is not below `bound`, or the block ends beyond the bytes.
bool DecodeBlock(std::span<const uint8_t> bytes, int64_t bound, int64_t count, uint64_t& at, int64_t& index,
                 uint32_t* out) {
  const uint64_t end = bytes.size() * 8;
  const auto low_bits = static_cast<int>(BitsAt(bytes, at) & ((1 << kParameterBits) - 1));
  const uint64_t mask = (uint64_t{1} << low_bits) - 1, most = static_cast<uint64_t>(bound) >> low_bits;
  uint64_t low = at + kParameterBits;
  at = low + static_cast<uint64_t>(count * low_bits);
  if (at >= end) return false;
  // Ones are searched for in words that begin at `word`.
  constexpr uint64_t kWordBits = 56, kWord = (uint64_t{1} << kWordBits) - 1;
  uint64_t word = at, bits = BitsAt(bytes, word) & kWord;
  for (int64_t i = 0; i < count; ++i, low += static_cast<uint64_t>(low_bits)) {
    while (bits == 0) {
      word += kWordBits;
      if (word >= end) return false;
      bits = BitsAt(bytes, word) & kWord;
    }
    const uint64_t one = word + static_cast<uint64_t>(std::countr_zero(bits)), upper = one - at;
    bits &= bits - 1;
    at = one + 1;
    if (upper > most) return false;
    index += static_cast<int64_t>(upper << low_bits | (BitsAt(bytes, low) & mask)) + 1;
    if (index >= bound) return false;
    out[i] = static_cast<uint32_t>(index);
  }
  return true;
}

absl::Status DecodeGaps(std::span<const uint8_t> bytes, int64_t bound, std::span<uint32_t> out) {
  const std::span<const uint8_t> stream = bytes.subspan(kGapsHeader);
  uint64_t at = 0;
  int64_t index = -1;
  const int64_t count = std::ssize(out);
  for (int64_t first = 0; first < count; first += kBlock) {
    if (!DecodeBlock(stream, bound, std::min(kBlock, count - first), at, index, out.data() + first)) {
      return Refuse(fmt::format("the gaps of the block at entry {} of {} lead out of it", first, count), bytes, bound);
    }
  }
  if ((at + 7) / 8 != stream.size() || (at % 8 != 0 && BitsAt(stream, at) != 0)) {
    return Refuse(fmt::format("{} indices end at bit {} of {}", count, at, stream.size() * 8), bytes, bound);
  }
  return absl::OkStatus();
}

TraceWork WorkOf(int64_t count, int64_t bytes) {
  return {.bytes = static_cast<double>(4 * count + bytes), .level = TraceLevel::kMemory};
}

}  // namespace

int64_t EncodedIndexBytes(std::span<const uint32_t> indices, int64_t bound) { return Choose(indices, bound).bytes; }

void EncodeIndices(std::span<const uint32_t> indices, int64_t bound, std::span<uint8_t> out) {
  const TraceSpan span("encode_indices", [&] { return WorkOf(std::ssize(indices), std::ssize(out)); });
  const Choice choice = Choose(indices, bound);
  CHECK(std::ssize(out) == choice.bytes, "{} bytes for a list of {}", out.size(), choice.bytes);
  out[0] = choice.form;
  if (choice.form == kBitmap) EncodeBitmap(indices, out.subspan(1));
  if (choice.form == kGaps) {
    CHECK(EncodeGaps(indices, out.data() + 1) == out.data() + out.size(), "a list of another length than was said");
  }
}

absl::StatusOr<int64_t> IndexCount(std::span<const uint8_t> bytes, int64_t bound) {
  if (bytes.empty()) return Refuse("no byte that says its form", bytes, bound);
  const int64_t size = std::ssize(bytes);
  if (bytes[0] == kNone && size == 1) return 0;
  if (bytes[0] == kAll && size == 1) return bound;
  if (bytes[0] == kBitmap && size == 1 + BitmapBytes(bound)) {
    if (bound % 8 != 0 && bytes.back() >> (bound % 8) != 0) return Refuse("a bit beyond the bound", bytes, bound);
    return CountBits(bytes.subspan(1));
  }
  if (bytes[0] == kGaps && size > kGapsHeader) {
    const int64_t count = GapsCount(bytes);
    if (count > 0 && count <= bound && count <= 8 * (size - kGapsHeader)) return count;
    return Refuse(fmt::format("it says it has {} indices", count), bytes, bound);
  }
  return Refuse(fmt::format("form {} is none, or not of this length", bytes[0]), bytes, bound);
}

absl::Status DecodeIndices(std::span<const uint8_t> bytes, int64_t bound, std::span<uint32_t> out) {
  const TraceSpan span("decode_indices", [&] { return WorkOf(std::ssize(out), std::ssize(bytes)); });
  const absl::StatusOr<int64_t> count = IndexCount(bytes, bound);
  if (!count.ok()) return count.status();
  CHECK(std::ssize(out) == *count, "room for {} indices of {}", out.size(), *count);
  if (bytes[0] == kAll) {
    for (int64_t i = 0; i < bound; ++i) out[i] = static_cast<uint32_t>(i);
  } else if (bytes[0] == kBitmap) {
    DecodeBitmap(bytes.subspan(1), out.data());
  } else if (bytes[0] == kGaps) {
    return DecodeGaps(bytes, bound, out);
  }
  return absl::OkStatus();
}

}  // namespace filigree::kernels
