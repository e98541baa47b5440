#include "fmt/format.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"

namespace filigree::cli {

int Finish(const absl::Status& status) {
  if (!status.ok()) Say("{}", std::string(status.message()));
  return ExitCodeOf(status);
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
      return kExitUnusable;
    default:
      return kExitFailed;
  }
}

}  // namespace filigree::cli
