#ifndef FILIGREE_WORKER_COMM_REDUCE_H_
#define FILIGREE_WORKER_COMM_REDUCE_H_

#include <cstdint>
#include <span>

#include "worker/comm/array.h"

// The sum of what the ranks gave, along the fixed tree that communicator.h promises.

namespace filigree::comm {

enum class ReduceOp { kSum, kMin, kMax };

bool Reducible(ElementType type);
const char* Name(ReduceOp op);

// out[i] = parts[0][i] op parts[1][i] op ..., bracketed as a tree: of n parts the left branch holds the largest power
// of two below n. Integers wrap; a minimum or maximum with a NaN is NaN. `out` may be one of the parts.
void ReduceTree(std::span<const void* const> parts, int64_t count, ElementType type, ReduceOp op, void* out);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_REDUCE_H_
