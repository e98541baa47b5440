#ifndef FILIGREE_KERNELS_BASE_RANDOM_H_
#define FILIGREE_KERNELS_BASE_RANDOM_H_

#include <cstdint>

namespace filigree::kernels {

// A counter-based generator: every number is a pure function of (seed, stream, index), so any part of a tensor can be
// drawn by anyone, in any order, with the same result.
//
// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"); key = seed, counter = (index,
// stream).
class CounterRng {
 public:
  constexpr CounterRng(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint64_t Bits(uint64_t index) const;
  // [0, 1), 53 bits.
  double Uniform(uint64_t index) const;
  // N(0, 1) by Box-Muller from the two halves of one draw.
  double Normal(uint64_t index) const;
  // [0, n), without noticeable bias: n < 2^32.
  uint64_t Below(uint64_t index, uint64_t n) const;

 private:
  uint64_t seed_, stream_;
};

// A stable stream number for a name (FNV-1a), so that adding a tensor changes no other tensor's numbers.
uint64_t StreamOf(const char* name);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_RANDOM_H_
