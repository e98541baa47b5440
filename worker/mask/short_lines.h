#ifndef FILIGREE_WORKER_MASK_SHORT_LINES_H_
#define FILIGREE_WORKER_MASK_SHORT_LINES_H_

#include <cstdint>
#include <vector>

#include "worker/mask/newcomers.h"
#include "worker/mask/refresh.h"

namespace filigree::mask {

// Newcomers for columns and rows with fewer candidates, or fewer in reserve, than `input` asks for; columns first. At
// most `newcomers`. stays: bitmap over the entries that remain candidates. Global indices, ascending.
std::vector<uint32_t> FillShortLines(const RefreshInput& input, const uint64_t* stays, int64_t newcomers,
                                     const Sampler& rows, const Sampler& columns, const Draws& draws);

}  // namespace filigree::mask

#endif  // FILIGREE_WORKER_MASK_SHORT_LINES_H_
