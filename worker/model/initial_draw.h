#ifndef FILIGREE_WORKER_MODEL_INITIAL_DRAW_H_
#define FILIGREE_WORKER_MODEL_INITIAL_DRAW_H_

#include <cstdint>

#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/csr/pattern.h"
#include "worker/model/registry.h"

// The start of a run that is sparse from its first step: of the dense initial draw (InitialiseWeights) only the largest
// weights ever exist. The draw is counter-based, so it is streamed, and most draws are dropped by their raw bits: the
// radius of the Box-Muller transform bounds the magnitude.

namespace filigree::model {

struct InitialDraw {
  kernels::Pattern pattern;
  kernels::Buffer<float> values;  // one an entry, as drawn
};

// The entries that kernels::SelectWeights keeps of the dense draw of this tensor (where ranks share it: of the whole
// one, of which those that are here are given out): every unit's (info.unit) min(min_per_unit, unit length) largest by
// magnitude, then the largest of the rest, `candidates` in all; ties: the lower index. The same bits as the dense draw,
// for any threads.
//
// Preconditions  rows, cols <= 65536, fewer than 2^32 - 1 entries; units * min(min_per_unit, unit length) <= candidates
//                <= entries.
// Memory         O(candidates + units * min_per_unit + rows): never one number an entry of the dense tensor, unless
// most
//                of them are wanted.
// Cost           about 1.5 ns of one core a dense entry (AVX-512) and 60 ns for each of the few whose radius reaches;
//                units that fall short of their minimum are drawn again, 10 ns an entry.
InitialDraw DrawLargest(const TensorInfo& info, uint64_t seed, int64_t candidates, int64_t min_per_unit,
                        kernels::ThreadPool& pool);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_INITIAL_DRAW_H_
