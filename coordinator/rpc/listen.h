#ifndef FILIGREE_COORDINATOR_RPC_LISTEN_H_
#define FILIGREE_COORDINATOR_RPC_LISTEN_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/rpc/caller.h"
#include "coordinator/rpc/tokens.h"

namespace filigree::coordinator {

// PEM files; empty: none.
struct Security {
  std::string certificate, key;  // of the server: TLS
  std::string client_ca;         // clients show certificates that it signed
  std::string token_file;        // or a token of this file
};

// How an address is secured.
struct Listening {
  std::shared_ptr<grpc::ServerCredentials> credentials;
  Trust trust = Trust::kLoopback;
  std::optional<Tokens> tokens;
};

// Closed by default: plain text and no credentials on a loopback address only; everything else is TLS with clients that
// are known by certificate or token. InvalidArgument: anything weaker, with what to do; NotFound, PermissionDenied: a
// file that is not there, or a key or token file that others may read.
absl::StatusOr<Listening> Secure(const std::string& address, const Security& security);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_LISTEN_H_
