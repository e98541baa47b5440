#include "worker/cli/out_of_memory.h"

#include <unistd.h>

#include <new>

namespace filigree::cli {
namespace {

// Nothing may be allocated here.
void End() {
  constexpr char kText[] =
      "filigree: out of memory: this process was refused more; `filigree train --dry-run` says what a run needs, "
      "ulimit "
      "-a what is allowed\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText, sizeof kText - 1);
  _exit(kExitOutOfMemory);
}

}  // namespace

void EndWhereMemoryIsRefused() { std::set_new_handler(End); }

}  // namespace filigree::cli
