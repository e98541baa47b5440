#include "proto/rpc/pem.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace filigree::rpc {
namespace {

using Bytes = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// A file with a password is not asked for one.
int NoPassword(char*, int, int, void*) { return 0; }

Bytes Reading(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// The first one; null: there is none.
Certificate CertificateIn(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(Reading(pem).get(), nullptr, NoPassword, nullptr), &X509_free);
  ERR_clear_error();
  return certificate;
}

Key KeyIn(const std::string& pem) {
  Key key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, NoPassword, nullptr), &EVP_PKEY_free);
  ERR_clear_error();
  return key;
}

absl::Status NoCertificate(const std::string& path, const std::string& expected) {
  return absl::InvalidArgumentError(fmt::format(
      "{}: holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----; expected {}", path, expected));
}

}  // namespace

absl::Status CheckAuthority(const std::string& pem, const std::string& path) {
  if (CertificateIn(pem) != nullptr) return absl::OkStatus();
  return NoCertificate(path, "that of the CA which signed the other side's, as filigree certs writes it to ca.pem");
}

absl::Status CheckPair(const std::string& certificate, const std::string& certificate_path, const std::string& key,
                       const std::string& key_path) {
  const Certificate shown = CertificateIn(certificate);
  if (shown == nullptr) return NoCertificate(certificate_path, "our own, as filigree certs writes it to NAME.pem");
  const Key secret = KeyIn(key);
  if (secret == nullptr)
    return absl::InvalidArgumentError(fmt::format("{}: holds no key in PEM without a password", key_path));
  const bool belongs = X509_check_private_key(shown.get(), secret.get()) == 1;
  ERR_clear_error();
  if (!belongs)
    return absl::InvalidArgumentError(
        fmt::format("{}: is not the key of the certificate {}", key_path, certificate_path));
  if (X509_cmp_current_time(X509_get0_notAfter(shown.get())) < 0)
    return absl::InvalidArgumentError(
        fmt::format("{}: the certificate has expired; make another one with filigree certs", certificate_path));
  return absl::OkStatus();
}

}  // namespace filigree::rpc
