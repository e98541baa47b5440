#ifndef FILIGREE_WORKER_CLI_DRY_RUN_H_
#define FILIGREE_WORKER_CLI_DRY_RUN_H_

#include <string>
#include <vector>

namespace filigree::cli {

// filigree train CONFIG --dry-run
struct DryRunOptions {
  bool asked = false;
  int ranks = 0, ranks_per_host = 0;  // 0: as plan::PlanOptions
  bool json = false;
};

// Prints the plan of the run (worker/plan) and returns the exit code: 2 where a rank's memory would not be enough.
int RunDryRun(const std::string& config, const std::vector<std::string>& overrides, const DryRunOptions& options);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_DRY_RUN_H_
