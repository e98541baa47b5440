#ifndef FILIGREE_COORDINATOR_CONSOLE_ANSWERS_H_
#define FILIGREE_COORDINATOR_CONSOLE_ANSWERS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/console/history.h"
#include "coordinator/core/core.h"
#include "coordinator/rpc/log_store.h"

// What the page asks for, as JSON (docs/operate/console.md). Numbers that are not known are null; text of others is
// valid UTF-8. Those with a core are called where it may be read, and are bounded in size.

namespace filigree::coordinator {

using Json = nlohmann::json;

// Jobs, the latest first (200), and workers by name (500).
Json StateJson(const Core& core, Now now, const History& history, bool ended);

// One job: its ranks (512; those that are slow or have failed first), who is slow, its matrices. NotFound.
absl::StatusOr<Json> JobJson(const Core& core, Now now, const History& history, const std::string& job);

// Its curves: an array a column.
Json SeriesJson(const History& history, const std::string& job);

// The last 200 behind `after`, oldest first.
Json EventsJson(const History& history, int64_t after);

// The end of what ranks of a job have printed, as the store has it: copied where the store may be read, a megabyte at
// most, and made into lines elsewhere, because ranks decide how many those are.
struct LogTail {
  std::string job;
  int64_t after = 0;  // the store's last arrival
  bool changed = true;
  std::vector<LogPart> parts;
};
// changed: something of them has come since the answer that said `after`. NotFound.
absl::StatusOr<LogTail> TailOf(const Core& core, const LogStore& logs, const ReadLogQuery& query, int64_t after);

// Whole lines in the order in which they came to their ends: the last 1,000, and of those the last 64 KiB. `lines` is
// null where nothing has changed.
Json LogJson(const LogTail& tail);

std::string TextOf(const Json& json);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_ANSWERS_H_
