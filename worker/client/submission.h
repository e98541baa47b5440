#ifndef FILIGREE_WORKER_CLIENT_SUBMISSION_H_
#define FILIGREE_WORKER_CLIENT_SUBMISSION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "filigree/v1/coordinator.pb.h"

namespace filigree::client {

// What somebody types who submits a job. What is not given comes from the settings (name, data, tensor), else from the
// coordinator's defaults.
struct Submission {
  std::string config;                  // TOML file
  std::vector<std::string> overrides;  // "--section.key=value"
  std::string name;
  std::string key;  // idempotency key; empty: a new one
  std::string backend;
  std::optional<int32_t> data, tensor, min_data, priority, restart_limit;
  std::optional<int64_t> queue_deadline, start_deadline, drain_deadline;  // seconds
};

// A request that the coordinator takes: settings and specification are checked here. It always has an idempotency key,
// so that a submission whose answer was lost can be repeated. InvalidArgument too where no rank could train: no run.dir
// or data.dir, several ranks of one process. Status as config::Load and contract::Validate.
absl::StatusOr<v1::SubmitRequest> MakeSubmission(const Submission& submission);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_SUBMISSION_H_
