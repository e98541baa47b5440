#ifndef FILIGREE_WORKER_MACHINE_PROBE_H_
#define FILIGREE_WORKER_MACHINE_PROBE_H_

#include <cstddef>
#include <cstdint>

// The loops that nothing can beat: what a core can multiply, what it can read, what it can read and write back.

namespace filigree::machine {

// Runs `rounds` rounds of independent fused multiply-adds in registers; returns the floating-point operations done.
// `sink` gets a number that depends on all of them, so that none is optimised away.
double MultiplyAdd(int64_t rounds, float* sink);

// Reads n floats (64-byte aligned, n a multiple of 256) once, front to back.
void ReadOnce(const float* data, size_t n, float* sink);

// Adds 1 to n floats in place (as above).
void UpdateOnce(float* data, size_t n);

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_PROBE_H_
