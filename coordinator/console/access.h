#ifndef FILIGREE_COORDINATOR_CONSOLE_ACCESS_H_
#define FILIGREE_COORDINATOR_CONSOLE_ACCESS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/rpc/caller.h"
#include "coordinator/rpc/tokens.h"
#include "proto/http/site_server.h"

// Who may ask the console for what. A browser sends what pages of others tell it to: so a request must also be of the
// console's own page.

namespace filigree::coordinator {

// PermissionDenied: without credentials, the header Host names another host than this machine. A page of another name
// that resolves to this machine could read the answer otherwise.
absl::Status CheckHost(const http::SiteRequest& request, Trust trust);

// PermissionDenied: a request that changes something and was not made by the console's own page: without the header
// "X-Filigree: console", which no page of others can send, or with an Origin that is not its Host.
absl::Status CheckOwnPage(const http::SiteRequest& request);

// The caller, by certificate or token, where its role may use the method. Status: as WhoShows and CheckRole.
absl::StatusOr<Caller> Admit(const http::SiteRequest& request, Trust trust, const Tokens* tokens, Method method);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_ACCESS_H_
