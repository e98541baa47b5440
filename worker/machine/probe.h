#ifndef FILIGREE_WORKER_MACHINE_PROBE_H_
#define FILIGREE_WORKER_MACHINE_PROBE_H_

#include <cstddef>
#include <cstdint>

// The two loops that nothing can beat: what a core can multiply, and what it can read.

namespace filigree::machine {

// Runs `rounds` rounds of independent fused multiply-adds in registers; returns the floating-point operations done.
// `sink` gets a number that depends on all of them, so that none is optimised away.
double MultiplyAdd(int64_t rounds, float* sink);

// Reads n floats (64-byte aligned, n a multiple of 256) once, front to back.
void ReadOnce(const float* data, size_t n, float* sink);

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_PROBE_H_
