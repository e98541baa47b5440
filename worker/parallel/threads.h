#ifndef FILIGREE_WORKER_PARALLEL_THREADS_H_
#define FILIGREE_WORKER_PARALLEL_THREADS_H_

#include "worker/config/settings.h"

// How ranks share the cores of their host.

namespace filigree::parallel {

// Threads of a rank, at least one: run.threads, else its part of the cores that it may run on.
int ThreadsOfRank(const config::RunSettings& settings, int ranks_on_this_host);

// Is there a core for one thread more of every rank? cores: that each of them may run on, all the same ones as far as
// it knows.
bool HasSpareCores(int cores, int threads_of_rank, int ranks_on_this_host);

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_THREADS_H_
