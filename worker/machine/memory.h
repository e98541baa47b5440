#ifndef FILIGREE_WORKER_MACHINE_MEMORY_H_
#define FILIGREE_WORKER_MACHINE_MEMORY_H_

#include <cstdint>
#include <string>

// How much memory this process may use.

namespace filigree::machine {

// What a control group of the process, or one of those around it, allows; no limit: INT64_MAX. Both versions of control
// groups, as Slurm, systemd and containers set them.
//
// groups   the text of /proc/self/cgroup: a line "ID:CONTROLLERS:PATH" a hierarchy
// root     where control groups are mounted: /sys/fs/cgroup
int64_t ControlGroupLimit(const std::string& groups, const std::string& root);

// Bytes: what the machine has, or the process's control groups allow.
int64_t UsableMemory();

}  // namespace filigree::machine

#endif  // FILIGREE_WORKER_MACHINE_MEMORY_H_
