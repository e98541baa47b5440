#ifndef FILIGREE_WORKER_REPORT_REPORT_H_
#define FILIGREE_WORKER_REPORT_REPORT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/config/settings.h"
#include "worker/telemetry/read_log.h"

// A run as one HTML page that needs nothing else: styles, script and pictures are inside, nothing is fetched. Works for
// a run that is going on, has ended, has not begun, or whose log is damaged. What the log says is shown as text,
// whatever it contains. Curves of long runs are thinned, so that the page stays below about 2 MB.

namespace filigree::report {

// What there is to show.
struct RunView {
  std::string dir;
  telemetry::RunLog log;
  std::string toml;                          // the resolved settings as they were stored; may be empty
  std::optional<config::Settings> settings;  // the same, where they can be read
  std::string warning;                       // what could not be read; may be empty
};

// Reads DIR/steps.jsonl and DIR/config.toml; either may be missing. NotFound: no such folder, or it has neither.
absl::StatusOr<RunView> ReadRun(const std::string& dir);

// The page. The same view gives the same bytes.
std::string RenderPage(const RunView& run);

// Reads, renders and writes the page to `out`, a file that is replaced as a whole or not at all, or a pipe or device
// that is written to; empty: DIR/report.html.
// Returns the path written. NotFound: the folder; PermissionDenied, ResourceExhausted and Unavailable: the output.
absl::StatusOr<std::string> WriteReport(const std::string& dir, const std::string& out = "");

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_REPORT_H_
