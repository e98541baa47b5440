#ifndef FILIGREE_WORKER_AGENT_ENDING_TEXT_H_
#define FILIGREE_WORKER_AGENT_ENDING_TEXT_H_

#include <cstddef>
#include <string>

#include "worker/agent/rank_table.h"

namespace filigree::agent {

// Of a reason, with all that is put to it: what the coordinator takes.
inline constexpr size_t kMostReasonBytes = 8192;

// "exit code 2 (bad configuration)", "killed by signal 11 (SIGSEGV)", with a guess where the kernel may have done it
// for want of memory.
std::string EndingText(const Ending& ending);

// `reason` and the last lines printed, as many of them as fit; valid UTF-8 without control characters but newlines.
std::string ReasonText(const std::string& reason, const std::string& tail);

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_ENDING_TEXT_H_
