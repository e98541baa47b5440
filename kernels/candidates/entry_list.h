#ifndef FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_
#define FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_

#include <cstddef>
#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"

// Entries of a pattern by rows, with their values: compressed rows as in kernels/csr. Arrays grow and are reused:
// nothing is allocated once they are warm.

namespace filigree::kernels {

struct EntryList {
  Buffer<uint32_t> offsets;
  Buffer<uint16_t> indices;
  Buffer<float> values;

  size_t bytes() const;
};

// The entries whose bit is set in `kept`, a bitmap over the entries of the pattern, null: all. Parallel over rows.
void KeptRows(const PatternView& pattern, const float* w, const uint64_t* kept, EntryList& to, ThreadPool& pool);

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_CANDIDATES_ENTRY_LIST_H_
