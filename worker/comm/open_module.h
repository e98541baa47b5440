#ifndef FILIGREE_WORKER_COMM_OPEN_MODULE_H_
#define FILIGREE_WORKER_COMM_OPEN_MODULE_H_

#include <string>

#include "absl/status/statusor.h"

// Parts of the program that are linked to libraries which not every machine has: opened when they are asked for, from
// the folder the program is in.

namespace filigree::comm {

struct ModuleFile {
  const char* what;      // "MPI", for messages
  const char* name;      // of the file
  const char* variable;  // of the environment, which names another file
  const char* entry;     // a function of it
  const char* packages;  // of Debian that hold the library it needs
};

// The address of its entry. The module stays open until the process ends. Unavailable: says which file and which
// packages.
absl::StatusOr<void*> OpenModule(const ModuleFile& file);
// What to say where the entry does not know this program's version.
absl::Status OtherBuild(const ModuleFile& file);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_OPEN_MODULE_H_
