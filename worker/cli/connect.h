#ifndef FILIGREE_WORKER_CLI_CONNECT_H_
#define FILIGREE_WORKER_CLI_CONNECT_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "filigree/v1/coordinator.pb.h"
#include "proto/rpc/channel.h"
#include "worker/client/connection.h"

namespace filigree::cli {

// Where the coordinator is and what to show it: flags that every user's command has, or variables of the environment.
struct ConnectOptions {
  rpc::ChannelOptions channel;
  double timeout = 5;  // seconds
};

void AddConnectOptions(CLI::App& command, ConnectOptions& options);

absl::StatusOr<client::Connection> Connect(const ConnectOptions& options);

// Of one who watched a job: 0 done, 75 cancelled, else 1.
int ExitCodeOfJob(v1::JobState state);

// gRPC writes its own account of failures to stderr; here they are told once, by us. Call before anything of gRPC.
void QuietGrpc();

}  // namespace filigree::cli

#endif  // FILIGREE_WORKER_CLI_CONNECT_H_
