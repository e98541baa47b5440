#ifndef FILIGREE_WORKER_MACHINE_PROCESSOR_H_
#define FILIGREE_WORKER_MACHINE_PROCESSOR_H_

#include <cstdint>
#include <string>

// What the kernel says about the processor. Nothing here fails: what cannot be read is "unknown" or 0.

namespace filigree::machine {

struct Processor {
  std::string model;     // as /proc/cpuinfo names it
  int cores = 1;         // this process may run on
  int64_t l1_bytes = 0;  // data cache of one core
  int64_t l2_bytes = 0;
  int64_t l3_bytes = 0;
};

Processor DescribeProcessor();

// The same from a file like /proc/cpuinfo and a folder like /sys/devices/system/cpu/cpu0/cache.
std::string ProcessorModel(const std::string& cpuinfo_path);
int64_t CacheBytes(const std::string& cache_dir, int level);

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_PROCESSOR_H_
