#ifndef FILIGREE_KERNELS_GRADCODEC_BF16_H_
#define FILIGREE_KERNELS_GRADCODEC_BF16_H_

#include <cstdint>

// Gradients as bf16 on the wire, with what rounding loses kept for the next step.
//
//   value = gradient + residual,   out = bf16(value),   residual = value - out
//
// so that the sum of all that was sent plus the residual is the sum of all gradients, up to the rounding of the fp32
// addition: nothing is lost, it comes later.
//
// Rounding       to nearest, ties to even; subnormals are kept as they are (a bf16 subnormal is a float one). The
//                difference value - out is exact in fp32.
// Special        a finite value beyond the largest bf16 becomes that one, of its sign, and the rest stays in the
//                residual; infinity stays infinity and NaN becomes the quiet NaN of its sign, with residual 0: a bad
//                step does not poison the next.
// Sizes          n >= 0 elements in host memory, any alignment; arrays do not overlap.
// Threads        on the calling thread; ranges may be handled side by side.
// Determinism    the same bits in ref, AVX2 and AVX-512, however an array is cut into ranges.
// Cost           14 bytes of memory traffic an element to encode, 6 to decode, 10 to add.

namespace filigree::kernels {

void EncodeBf16WithFeedback(int64_t n, const float* gradient, float* residual, uint16_t* out);

// Without a residual: what is lost is lost.
void EncodeBf16(int64_t n, const float* x, uint16_t* out);

// y = x. Exact.
void DecodeBf16(int64_t n, const uint16_t* x, float* y);

// y += x, in fp32: an inner node of the tree of sums.
void AddBf16(int64_t n, const uint16_t* x, float* y);

namespace ref {
void EncodeBf16WithFeedback(int64_t n, const float* gradient, float* residual, uint16_t* out);
void EncodeBf16(int64_t n, const float* x, uint16_t* out);
void DecodeBf16(int64_t n, const uint16_t* x, float* y);
void AddBf16(int64_t n, const uint16_t* x, float* y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_GRADCODEC_BF16_H_
