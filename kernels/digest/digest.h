#ifndef FILIGREE_KERNELS_DIGEST_DIGEST_H_
#define FILIGREE_KERNELS_DIGEST_DIGEST_H_

#include <cstdint>

// 128 bits that say which values stand where: of a tensor, whoever holds it and however it is stored.
//
//   digest = sum over entries i whose bits are not all 0 of (first(i, bits), second(i, bits))        mod 2^64 each
//   first(i, bits)  = (bits ^ x) * (y | 1)        x, y: 32 bits each, mixed from i (Digest::Keys)
//   second(i, bits) = (bits + y) * (x' | 1)       x': x, its halves exchanged
//
// i is the index in the whole tensor, below 2^32; products are of 32 by 32 bits. +0 counts as nothing, so a tensor on
// candidates, a dense one and parts on several ranks have one digest: that of parts is the sum of theirs. Order does
// not matter, and any thread may add any part.
//
// What it finds    a single changed entry: for one i both products are injective in bits that are not 0. Several
//                  changed or exchanged entries, or one that comes or goes, escape with a chance of about 2^-64. It is
//                  no protection against intent.
// Source           sums of keyed products: Halevi and Krawczyk 1997 (MMH), with keys that are mixed from positions.
// Determinism      the same bits in ref, AVX2 and AVX-512.
// Cost             4 bytes read a value; several arrays on the same positions share the mixing of keys.

namespace filigree::kernels {

struct Digest {
  uint64_t first = 0, second = 0;

  bool operator==(const Digest&) const = default;
  Digest& operator+=(const Digest& more) {
    first += more.first;
    second += more.second;
    return *this;
  }

  struct Keys {
    uint32_t x, y;
  };
  static constexpr Keys KeysOf(uint32_t i) {
    uint32_t x = (i + 0x7f4a7c15u) * 0x9e3779b1u;
    x ^= x >> 15;
    x *= 0x85ebca77u;
    x ^= x >> 13;
    uint32_t y = x * 0xc2b2ae3du;
    y ^= y >> 16;
    return {x, y};
  }
  // Adds one entry.
  void Add(uint32_t i, uint32_t bits) {
    if (bits == 0) return;
    const auto [x, y] = KeysOf(i);
    first += static_cast<uint64_t>(bits ^ x) * (y | 1);
    second += static_cast<uint64_t>(bits + y) * ((x << 16 | x >> 16) | 1);
  }
};

inline constexpr int kMostDigestedArrays = 3;

// arrays: `count` of them, 1 to kMostDigestedArrays, each n values at indices [index, index + n), which stay below
// 2^32. sums[a] += that of arrays[a].
void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums);

// Entries [begin, end) of a pattern that stand at index + col_indices[e] of the whole tensor: of a row, or a part of
// it.
struct EntryRun {
  uint32_t begin = 0, end = 0;
  uint32_t index = 0;  // mod 2^32
};

// What a tensor on candidates consists of: values an entry, the entries themselves, and which of them a mask keeps.
// The latter two are digested like values: a bit pattern of 1 wherever there is one. Borrowed.
struct EntryArrays {
  const float* const* arrays = nullptr;
  int count = 0;                          // 0 to kMostDigestedArrays
  const uint16_t* col_indices = nullptr;  // 16 more than there are entries can be read: kernels/csr/pattern.h
  const uint64_t* kept = nullptr;         // a bitmap over entries; null: no mask
};
struct EntryDigests {
  Digest arrays[kMostDigestedArrays], entries, kept;
};
// sums += those of the entries of `runs`, each of which begins where the one before ends.
void AddEntries(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& sums);

namespace ref {
void AddToDigests(const float* const* arrays, int count, int64_t n, uint32_t index, Digest* sums);
void AddEntries(const EntryArrays& of, const EntryRun* runs, int64_t count, EntryDigests& sums);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_DIGEST_DIGEST_H_
