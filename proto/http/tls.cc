#include "proto/http/tls.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "absl/status/status.h"

namespace filigree::http {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Bio Reading(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}
Certificate Next(const Bio& from) { return {PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr), &X509_free}; }

bool UseCertificate(SSL_CTX* context, const std::string& text) {
  const Bio from = Reading(text);
  const Certificate own = Next(from);
  if (own == nullptr || SSL_CTX_use_certificate(context, own.get()) != 1) return false;
  for (Certificate between = Next(from); between != nullptr; between = Next(from))
    if (SSL_CTX_add1_chain_cert(context, between.get()) != 1) return false;
  return true;
}

bool UseKey(SSL_CTX* context, const std::string& text) {
  const auto no_password = [](char*, int, int, void*) { return 0; };
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(Reading(text).get(), nullptr, no_password, nullptr), &EVP_PKEY_free);
  return key != nullptr && SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
}

bool TrustClients(SSL_CTX* context, const std::string& text) {
  const Bio from = Reading(text);
  int found = 0;
  for (Certificate ca = Next(from); ca != nullptr; ca = Next(from), ++found)
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca.get()) != 1 ||
        SSL_CTX_add_client_CA(context, ca.get()) != 1)
      return false;
  return found > 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<ssl_ctx_st>> MakeTls(const std::string& what, const TlsTexts& texts) {
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (context == nullptr) return absl::InternalError("OpenSSL has no server for TLS");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const char* trouble = nullptr;
  if (!UseCertificate(context.get(), texts.certificate))
    trouble = "the certificate is none in PEM, or one that TLS does not take";
  else if (!UseKey(context.get(), texts.key))
    trouble = "the key is none in PEM without a password, or not that of the certificate";
  else if (!texts.client_ca.empty() && !TrustClients(context.get(), texts.client_ca))
    trouble = "the CA of the clients is no certificate in PEM";
  ERR_clear_error();
  if (trouble != nullptr) return absl::InvalidArgumentError(fmt::format("{}: {}", what, trouble));
  if (!texts.client_ca.empty())
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | (texts.client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       nullptr);
  return context;
}

}  // namespace filigree::http
