#include "worker/parallel/threads.h"

#include <algorithm>
#include <cstdint>

#include "worker/machine/processor.h"

namespace filigree::parallel {

int ThreadsOfRank(const config::RunSettings& settings, int ranks_on_this_host) {
  if (settings.threads > 0) return static_cast<int>(settings.threads);
  return std::max(1, machine::DescribeProcessor().cores / ranks_on_this_host);
}

bool HasSpareCores(int cores, int threads_of_rank, int ranks_on_this_host) {
  return (int64_t{threads_of_rank} + 1) * ranks_on_this_host <= cores;
}

}  // namespace filigree::parallel
