#include "worker/machine/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <sstream>

namespace filigree::machine {
namespace {

// A limit file; none, or "max": no limit.
int64_t LimitIn(const std::string& path) {
  int64_t bytes = 0;
  std::ifstream file(path);
  return file >> bytes && bytes > 0 ? bytes : INT64_MAX;
}

// Of a group and those that it lies in, up to the root.
int64_t LeastUpwards(const std::string& mounted, std::string group, const std::string& file) {
  int64_t least = LimitIn(mounted + "/" + file);
  while (group.size() > 1 && group.front() == '/') {
    least = std::min(least, LimitIn(mounted + group + "/" + file));
    group.resize(group.rfind('/'));
  }
  return least;
}

bool Lists(const std::string& controllers, const std::string& wanted) {
  return ("," + controllers + ",").find("," + wanted + ",") != std::string::npos;
}

}  // namespace

int64_t ControlGroupLimit(const std::string& groups, const std::string& root) {
  // A container may see its own group as the root and still be told the path outside: the root counts in any case.
  int64_t least = std::min(LimitIn(root + "/memory.max"), LimitIn(root + "/memory/memory.limit_in_bytes"));
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) least = std::min(least, LeastUpwards(root, group, "memory.max"));
    if (Lists(controllers, "memory")) {
      least = std::min(least, LeastUpwards(root + "/memory", group, "memory.limit_in_bytes"));
    }
  }
  return least;
}

int64_t UsableMemory() {
  const int64_t machine = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::ifstream file("/proc/self/cgroup");
  const std::string groups{std::istreambuf_iterator<char>(file), {}};
  return std::min(machine, ControlGroupLimit(groups, "/sys/fs/cgroup"));
}

}  // namespace filigree::machine
