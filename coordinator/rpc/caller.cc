#include "coordinator/rpc/caller.h"

#include <fmt/format.h>
#include <grpc/grpc_security_constants.h>

#include <iterator>

#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

constexpr std::string_view kScheme = "filigree://";
constexpr std::string_view kBearer = "Bearer ";

std::string_view View(const grpc::string_ref& text) { return {text.data(), text.size()}; }

bool FromCertificate(const std::vector<std::string>& uris, Caller& caller) {
  int roles = 0;
  for (const std::string& uri : uris) {
    Caller named;
    if (!ParseRoleUri(uri, named)) continue;
    caller = named;
    ++roles;
  }
  return roles == 1;  // which of several is meant cannot be known
}

}  // namespace

bool ParseRoleUri(std::string_view uri, Caller& caller) {
  return uri.substr(0, kScheme.size()) == kScheme && ParseRole(uri.substr(kScheme.size()), '/', caller);
}

absl::StatusOr<Caller> WhoCalls(const grpc::ServerContextBase& context, Trust trust, const Tokens* tokens) {
  if (trust == Trust::kLoopback) return Caller{Role::kEverything, ""};
  return WhoShows(context.auth_context().get(), context.client_metadata(), tokens);
}

absl::StatusOr<Caller> WhoShows(const grpc::AuthContext* peer, const CallMetadata& metadata, const Tokens* tokens) {
  std::vector<std::string> uris;
  if (peer != nullptr && peer->IsPeerAuthenticated())
    for (const grpc::string_ref& uri : peer->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME))
      uris.emplace_back(uri.data(), uri.size());
  std::vector<std::string_view> shown;
  const auto [first, last] = metadata.equal_range("authorization");
  for (auto at = first; at != last; ++at) shown.push_back(View(at->second));
  return WhoShows(uris, shown, tokens);
}

absl::StatusOr<Caller> WhoShows(const std::vector<std::string>& uris, const std::vector<std::string_view>& shown,
                                const Tokens* tokens) {
  Caller caller;
  if (FromCertificate(uris, caller)) return caller;
  if (tokens == nullptr || shown.empty())
    return absl::UnauthenticatedError(
        fmt::format("no certificate with one role among its alternative names (filigree://admin, reader, worker or "
                    "worker/NAME){}; see filigree certs --help",
                    tokens == nullptr ? "" : " and no token"));
  if (shown.size() == 1 && shown[0].substr(0, kBearer.size()) == kBearer)
    if (const auto known = tokens->Find(shown[0].substr(kBearer.size())); known) return *known;
  return absl::UnauthenticatedError("the token is not among those of the coordinator's token file");
}

const char* Name(Method method) {
  constexpr const char* kNames[] = {"Submit",           "Get",        "List",     "ListWorkers", "Watch",     "ReadLog",
                                    "Cancel",           "Drain",      "Register", "Heartbeat",   "AwaitNews", "Leave",
                                    "CommitCheckpoint", "ReportMask", "SetKey",   "GetKey",      "SendLog"};
  static_assert(std::size(kNames) == kMethods);
  return kNames[static_cast<int>(method)];
}

absl::Status CheckRole(const Caller& caller, Method method) {
  if (caller.role == Role::kEverything) return absl::OkStatus();
  const bool reads = method == Method::kGet || method == Method::kList || method == Method::kListWorkers ||
                     method == Method::kWatch || method == Method::kReadLog;
  const bool asks = method == Method::kSubmit || method == Method::kCancel || method == Method::kDrain;
  const bool allowed = reads  ? caller.role == Role::kReader || caller.role == Role::kAdmin
                       : asks ? caller.role == Role::kAdmin
                              : caller.role == Role::kWorker;
  if (allowed) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format("{} is not for the role {}; {} is wanted", Name(method),
                                                 Name(caller.role),
                                                 reads  ? "reader or admin"
                                                 : asks ? "admin"
                                                        : "worker"));
}

absl::Status CheckSpeaksFor(const Caller& caller, std::string_view worker) {
  if (caller.worker.empty() || caller.worker == worker) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format("these credentials belong to worker {}, which cannot speak for {}",
                                                 caller.worker, contract::Shown(worker)));
}

}  // namespace filigree::coordinator
