#include "coordinator/rpc/listen.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "coordinator/rpc/gate.h"
#include "proto/contract/ids.h"
#include "proto/rpc/channel.h"

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

// gRPC takes files it cannot use and fails at the first handshake; this says so at the start.
absl::Status CheckPair(const Security& files, const std::string& certificate, const std::string& key) {
  BIO* certificate_bytes = BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size()));
  BIO* key_bytes = BIO_new_mem_buf(key.data(), static_cast<int>(key.size()));
  X509* x509 = PEM_read_bio_X509(certificate_bytes, nullptr, nullptr, nullptr);
  const auto no_password = [](char*, int, int, void*) { return 0; };
  EVP_PKEY* secret = PEM_read_bio_PrivateKey(key_bytes, nullptr, no_password, nullptr);
  absl::Status status = absl::OkStatus();
  if (x509 == nullptr)
    status = absl::InvalidArgumentError(fmt::format("{}: holds no certificate in PEM", files.certificate));
  else if (secret == nullptr)
    status = absl::InvalidArgumentError(fmt::format("{}: holds no key in PEM without a password", files.key));
  else if (X509_check_private_key(x509, secret) != 1)
    status = absl::InvalidArgumentError(
        fmt::format("{}: is not the key of the certificate {}", files.key, files.certificate));
  else if (X509_cmp_current_time(X509_get0_notAfter(x509)) < 0)
    status = absl::InvalidArgumentError(
        fmt::format("{}: the certificate has expired; make another one with filigree certs", files.certificate));
  EVP_PKEY_free(secret);
  X509_free(x509);
  BIO_free(key_bytes);
  BIO_free(certificate_bytes);
  return status;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsOf(const Security& security) {
  const auto certificate = rpc::ReadCredentialFile(security.certificate, false);
  if (!certificate.ok()) return certificate.status();
  const auto key = rpc::ReadCredentialFile(security.key, true);
  if (!key.ok()) return key.status();
  if (absl::Status status = CheckPair(security, *certificate, *key); !status.ok()) return status;
  // With tokens beside it a certificate may be missing, but one that is shown must be good.
  const auto asked = security.client_ca.empty()    ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                     : security.token_file.empty() ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                   : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
  grpc::SslServerCredentialsOptions options(asked);
  options.pem_key_cert_pairs.push_back({*key, *certificate});
  if (!security.client_ca.empty()) {
    const auto ca = rpc::ReadCredentialFile(security.client_ca, false);
    if (!ca.ok()) return ca.status();
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
