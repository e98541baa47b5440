#ifndef FILIGREE_COORDINATOR_RPC_CALLER_H_
#define FILIGREE_COORDINATOR_RPC_CALLER_H_

#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/rpc/tokens.h"

// Who calls, and what they may do.
//
// A certificate that the server's client CA signed carries its role as a URI among its alternative names:
//   filigree://admin   filigree://reader   filigree://worker   filigree://worker/NAME
// A token carries the role that stands beside it in the token file. The last form, of both, speaks for that worker
// only.

namespace filigree::coordinator {

// How the listening address was secured decides what a call must show.
enum class Trust : uint8_t {
  kLoopback,    // plain text, this machine only: everybody has every role
  kCredentials  // TLS: a certificate with a role, or a token
};

// What a call brings along beside its message.
using CallMetadata = std::multimap<grpc::string_ref, grpc::string_ref>;

// Unauthenticated: nothing was shown, or nothing that is known here. `tokens` and `peer` may be null.
absl::StatusOr<Caller> WhoShows(const grpc::AuthContext* peer, const CallMetadata& metadata, const Tokens* tokens);
// The same of what travels otherwise: URIs of the peer's certificate, and the values of its header "Authorization".
absl::StatusOr<Caller> WhoShows(const std::vector<std::string>& uris, const std::vector<std::string_view>& shown,
                                const Tokens* tokens);
absl::StatusOr<Caller> WhoCalls(const grpc::ServerContextBase& context, Trust trust, const Tokens* tokens);

// The role and worker that a URI of the form above names; false: it is none of ours.
bool ParseRoleUri(std::string_view uri, Caller& caller);

enum class Method : uint8_t {
  kSubmit,
  kGet,
  kList,
  kListWorkers,
  kWatch,
  kReadLog,
  kCancel,
  kDrain,
  kRegister,
  kHeartbeat,
  kAwaitNews,
  kLeave,
  kCommitCheckpoint,
  kReportMask,
  kSetKey,
  kGetKey,
  kSendLog
};
inline constexpr int kMethods = 17;
const char* Name(Method method);

// PermissionDenied: the method is not for that role.
absl::Status CheckRole(const Caller& caller, Method method);
// PermissionDenied: the caller's credentials are those of another worker.
absl::Status CheckSpeaksFor(const Caller& caller, std::string_view worker);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_CALLER_H_
