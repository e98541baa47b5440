#ifndef FILIGREE_WORKER_MACHINE_CLOCK_H_
#define FILIGREE_WORKER_MACHINE_CLOCK_H_

namespace filigree::machine {

// Seconds since some moment in the past; never goes back.
double WallSeconds();

// Seconds the calling thread has spent on a core: unmoved by what other programs do to it, but for shared caches and
// memory.
double ThreadCpuSeconds();

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_CLOCK_H_
