#include "coordinator/rpc/listen.h"

#include <fmt/format.h>

#include "coordinator/rpc/gate.h"
#include "proto/contract/ids.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/pem.h"

namespace filigree::coordinator {
namespace {

absl::Status CheckTogether(const std::string& host, const Security& security) {
  if (security.certificate.empty() != security.key.empty())
    return absl::InvalidArgumentError("the server's certificate and its key go together; give both files or none");
  const bool tls = !security.certificate.empty();
  const bool clients = !security.client_ca.empty() || !security.token_file.empty();
  if (tls && !clients)
    return absl::InvalidArgumentError(
        "TLS alone lets everybody in; give the CA that signs the clients' certificates (--tls-client-ca) or a file of "
        "tokens (--token-file)");
  if (!tls && clients)
    return absl::InvalidArgumentError(
        "clients show certificates and tokens over TLS only; give the server's certificate and key (--tls-cert, "
        "--tls-key)");
  if (!tls && !rpc::IsLoopback(host))
    return absl::InvalidArgumentError(fmt::format(
        "{} can be reached by others, and whoever reaches the coordinator runs programs on its workers; listen on "
        "127.0.0.1, or give --tls-cert and --tls-key with --tls-client-ca or --token-file (filigree certs makes them)",
        contract::Shown(host)));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsOf(const Security& security) {
  const auto certificate = rpc::ReadCredentialFile(security.certificate, false);
  if (!certificate.ok()) return certificate.status();
  const auto key = rpc::ReadCredentialFile(security.key, true);
  if (!key.ok()) return key.status();
  if (absl::Status status = rpc::CheckPair(*certificate, security.certificate, *key, security.key); !status.ok())
    return status;
  // With tokens beside it a certificate may be missing, but one that is shown must be good.
  const auto asked = security.client_ca.empty()    ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                     : security.token_file.empty() ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                   : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
  grpc::SslServerCredentialsOptions options(asked);
  options.pem_key_cert_pairs.push_back({*key, *certificate});
  if (!security.client_ca.empty()) {
    const auto ca = rpc::ReadCredentialFile(security.client_ca, false);
    if (!ca.ok()) return ca.status();
    if (absl::Status status = rpc::CheckAuthority(*ca, security.client_ca); !status.ok()) return status;
    options.pem_root_certs = *ca;
  }
  return grpc::SslServerCredentials(options);
}

}  // namespace

absl::StatusOr<Listening> Secure(const std::string& address, const Security& security) {
  const auto parsed = rpc::ParseAddress("listening address", address);
  if (!parsed.ok()) return parsed.status();
  if (absl::Status status = CheckTogether(parsed->host, security); !status.ok()) return status;
  Listening listening;
  if (security.certificate.empty()) {
    listening.credentials = grpc::InsecureServerCredentials();
    return listening;
  }
  listening.trust = Trust::kCredentials;
  auto credentials = TlsOf(security);
  if (!credentials.ok()) return credentials.status();
  listening.credentials = *credentials;
  if (!security.token_file.empty()) {
    auto tokens = Tokens::Read(security.token_file);
    if (!tokens.ok()) return tokens.status();
    listening.tokens = *std::move(tokens);
  }
  listening.credentials->SetAuthMetadataProcessor(std::make_shared<Gate>(listening.tokens));
  return listening;
}

}  // namespace filigree::coordinator
