#ifndef FILIGREE_KERNELS_SPMM_SPMM_H_
#define FILIGREE_KERNELS_SPMM_SPMM_H_

#include "kernels/base/bf16_row.h"
#include "kernels/base/tile.h"
#include "kernels/csr/csr.h"

// Sparse weight matrix times a dense token tile.
//
//   y[r, t] = bias[r] + sum over entries e of row r, ascending, of values[e] * x[col_indices[e], t]
//
// Forward of a linear layer with W in CSR; its input gradient dX = W^T dY with the CSR of W^T and no bias.
//
// Shapes         w: [rows][cols]; x: [cols][64]; y: [rows][64]; bias: rows or null (0).
// x as bf16      the same bits as with x widened, for half the bytes of x.
// Writes         all of y; y may not overlap x.
// Determinism    bitwise: the entries of a row are cut into blocks of kSpmmBlock; a block's sum is formed by fused
//                multiply-adds in ascending order of columns, the first block's from the bias, the others' from 0; the
//                blocks are added in ascending order. (One running sum over a thousand entries would err as the
//                thousand, blocks err as their length and number.) The same bits in ref, AVX2 and AVX-512.
// Cost           2 * nnz * 64 FLOPs; nnz * 256 bytes read of x (from L2 if the tile fits), rows * 256 written.

namespace filigree::kernels {

inline constexpr uint32_t kSpmmBlock = 32;

void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y);
void Spmm(const CsrView& w, ConstBf16Tile x, const float* bias, Tile y);

namespace ref {
void Spmm(const CsrView& w, ConstTile x, const float* bias, Tile y);
void Spmm(const CsrView& w, ConstBf16Tile x, const float* bias, Tile y);
}  // namespace ref

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_SPMM_SPMM_H_
