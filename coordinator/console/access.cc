#include "coordinator/console/access.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "proto/contract/address.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

// "127.0.0.1" of "127.0.0.1:80", "::1" of "[::1]:80".
std::string HostOf(const std::string& header) {
  if (!header.empty() && header[0] == '[') return header.substr(1, header.find(']') - 1);
  return header.substr(0, header.find(':'));
}

}  // namespace

absl::Status CheckHost(const http::SiteRequest& request, Trust trust) {
  if (trust == Trust::kCredentials) return absl::OkStatus();
  const std::string host = request.Header("host");
  if (!host.empty() && contract::IsLoopback(HostOf(host))) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("the console was asked for as {}; without credentials it answers to names of this machine only, such "
                  "as 127.0.0.1 or localhost",
                  contract::Shown(host)));
}

absl::Status CheckOwnPage(const http::SiteRequest& request) {
  const std::string origin = request.Header("origin");
  const std::string host = request.Header("host");
  const bool own = request.Header("x-filigree") == "console" && !host.empty() &&
                   (origin == "http://" + host || origin == "https://" + host);
  if (own) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "only the console's own page may ask for this; others use filigree cancel and drain");
}

absl::StatusOr<Caller> Admit(const http::SiteRequest& request, Trust trust, const Tokens* tokens, Method method) {
  if (trust == Trust::kLoopback) return Caller{Role::kEverything, ""};
  std::vector<std::string_view> shown;
  const auto [first, last] = request.headers.equal_range("authorization");
  for (auto at = first; at != last; ++at) shown.push_back(at->second);
  auto caller = WhoShows(request.peer_uris, shown, tokens);
  if (!caller.ok()) return caller;
  if (absl::Status status = CheckRole(*caller, method); !status.ok()) return status;
  return caller;
}

}  // namespace filigree::coordinator
