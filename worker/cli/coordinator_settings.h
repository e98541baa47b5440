#ifndef FILIGREE_WORKER_CLI_COORDINATOR_SETTINGS_H_
#define FILIGREE_WORKER_CLI_COORDINATOR_SETTINGS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "coordinator/rpc/listen.h"
#include "proto/rpc/channel.h"

namespace filigree::cli {

// How a coordinator is started: flags of `filigree coordinator`, or the section [coordinator] of a TOML file.
struct CoordinatorSettings {
  std::string listen = rpc::kDefaultAddress;
  std::string journal = "coordinator.db";
  coordinator::Security security;
  double lease = 4;             // seconds
  int64_t keep_ended = 10'000;  // jobs
  std::string metrics_listen;   // HOST:PORT of the pages for Prometheus; empty: none
  std::string console_listen;   // HOST:PORT of the console; empty: none
  bool metrics_open = false;    // whether other machines may reach them
};

// Sets what the file's [coordinator] names; other sections are not looked at, so that it may stand beside a run's.
// InvalidArgument: "FILE:LINE:COLUMN: ...", with the nearest name where a key is unknown; NotFound: no such file.
absl::Status ReadCoordinatorSettings(const std::string& path, CoordinatorSettings& settings);

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_COORDINATOR_SETTINGS_H_
