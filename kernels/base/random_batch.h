#ifndef FILIGREE_KERNELS_BASE_RANDOM_BATCH_H_
#define FILIGREE_KERNELS_BASE_RANDOM_BATCH_H_

#include <cstdint>

namespace filigree::kernels {

// bits[i] = CounterRng(seed, stream).Bits(first + i) for i in [0, n): many numbers of the counter-based generator at
// once, three to seven times faster than one by one.
void RandomBits(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, uint64_t* bits);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_RANDOM_BATCH_H_
