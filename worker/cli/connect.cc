#include "worker/cli/connect.h"

#include <grpc/grpc.h>

#include <chrono>
#include <cstdlib>

#include "worker/cli/command.h"
#include "worker/cli/real_in.h"

namespace filigree::cli {

void AddConnectOptions(CLI::App& command, ConnectOptions& options) {
  command.add_option("--coordinator", options.channel.address, "Address of the coordinator, HOST:PORT")
      ->envname("FILIGREE_COORDINATOR")
      ->capture_default_str();
  command.add_option("--tls-ca", options.channel.ca, "The CA that signed the coordinator's certificate (PEM)")
      ->envname("FILIGREE_TLS_CA");
  command.add_option("--tls-cert", options.channel.certificate, "Our certificate (PEM)")->envname("FILIGREE_TLS_CERT");
  command.add_option("--tls-key", options.channel.key, "Its key (PEM, mode 0600)")->envname("FILIGREE_TLS_KEY");
  command.add_option("--token-file", options.channel.token_file, "A file with one token (mode 0600)")
      ->envname("FILIGREE_TOKEN_FILE");
  command
      .add_option("--server-name", options.channel.server_name,
                  "Name in the coordinator's certificate, where it is not the address's host")
      ->envname("FILIGREE_SERVER_NAME");
  command.add_option("--timeout", options.timeout, "Seconds to wait for an answer")
      ->check(RealIn(0.1, 3600))
      ->capture_default_str();
}

absl::StatusOr<client::Connection> Connect(const ConnectOptions& options) {
  QuietGrpc();
  return client::Connection::Open(options.channel,
                                  std::chrono::milliseconds(static_cast<int64_t>(options.timeout * 1000)));
}

int ExitCodeOfJob(v1::JobState state) {
  if (state == v1::JOB_STATE_CANCELLED) return kExitStopped;
  return state == v1::JOB_STATE_DONE ? kExitDone : kExitFailed;
}

void QuietGrpc() {
  setenv("GRPC_VERBOSITY", "NONE", 0);
  grpc_init();  // held until the process ends: taking gRPC down with its last channel can take seconds
}

}  // namespace filigree::cli
