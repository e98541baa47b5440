#include "worker/machine/processor.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace filigree::machine {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "512K", "32M" or plain bytes.
int64_t ParseSize(const std::string& text) {
  int64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9' && value < (int64_t{1} << 40); ++i) {
    value = value * 10 + (text[i] - '0');
  }
  if (i == text.size()) return value;
  if (text[i] == 'K') return value << 10;
  if (text[i] == 'M') return value << 20;
  if (text[i] == 'G') return value << 30;
  return 0;
}

// Containers and taskset hand out fewer cores than there are.
int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

std::string ProcessorModel(const std::string& cpuinfo_path) {
  std::ifstream in(cpuinfo_path);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

int64_t CacheBytes(const std::string& cache_dir, int level) {
  for (int i = 0; i < 16; ++i) {
    const std::string index = cache_dir + "/index" + std::to_string(i) + "/";
    if (FirstLine(index + "level") == std::to_string(level) && FirstLine(index + "type") != "Instruction") {
      return ParseSize(FirstLine(index + "size"));
    }
  }
  return 0;
}

Processor DescribeProcessor() {
  const std::string cache_dir = "/sys/devices/system/cpu/cpu0/cache";
  Processor processor;
  processor.model = ProcessorModel("/proc/cpuinfo");
  processor.cores = UsableCores();
  processor.l1_bytes = CacheBytes(cache_dir, 1);
  processor.l2_bytes = CacheBytes(cache_dir, 2);
  processor.l3_bytes = CacheBytes(cache_dir, 3);
  return processor;
}

}  // namespace filigree::machine
