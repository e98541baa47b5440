#ifndef FILIGREE_PROTO_HTTP_TLS_H_
#define FILIGREE_PROTO_HTTP_TLS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct ssl_ctx_st;  // of OpenSSL

namespace filigree::http {

// PEM texts, not paths.
struct TlsTexts {
  std::string certificate, key;  // of the server, with what lies between it and the CA
  std::string client_ca;         // clients may show certificates that it signed; empty: they are not asked
  bool client_required = false;  // else one is not needed, but one that is shown must be good
};

// TLS 1.2 and above, no renegotiation, no sessions to be taken up again. InvalidArgument: texts that cannot be used,
// beginning with `what`.
absl::StatusOr<std::shared_ptr<ssl_ctx_st>> MakeTls(const std::string& what, const TlsTexts& texts);

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_TLS_H_
