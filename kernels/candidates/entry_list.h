#ifndef FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_
#define FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_

#include <cstddef>
#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "kernels/csr/pattern_transpose.h"

// Entries of a pattern in an order to compute in, with what belongs to them: run r (a row of the matrix, or a column)
// holds entries [offsets[r], offsets[r+1]). Arrays grow and are reused: nothing is allocated once they are warm.
//
// kept: a bitmap over the entries of the pattern, null: all.

namespace filigree::kernels {

struct EntryList {
  Buffer<uint32_t> offsets;
  Buffer<uint16_t> indices;  // of the other side: columns in rows, rows in columns
  Buffer<float> values;

  size_t bytes() const;
};

// The kept entries by rows, ascending.
void KeptRows(const PatternView& pattern, const float* w, const uint64_t* kept, EntryList& to, ThreadPool& pool);

// The kept entries by columns, ascending.
void KeptColumns(const PatternTranspose& columns, int cols, const float* w, const uint64_t* kept, EntryList& to,
                 ThreadPool& pool);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_
