#include "coordinator/certs/openssl.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>

namespace filigree::certs {
namespace {

using Bytes = std::unique_ptr<BIO, Freer<BIO_free>>;
using Number = std::unique_ptr<BIGNUM, Freer<BN_free>>;

absl::StatusOr<std::string> TextOf(const Bytes& bytes) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bytes.get(), &data);
  if (size <= 0) return OpensslError("cannot write PEM");
  return std::string(data, static_cast<size_t>(size));
}

Bytes Reading(const std::string& text) { return Bytes(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// A key with a password is not asked for one.
int NoPassword(char*, int, int, void*) { return 0; }

bool SetSerial(X509* certificate) {
  const Number number(BN_new());
  return BN_rand(number.get(), 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool SetTimes(X509* certificate, const Validity& validity, X509* issuer) {
  const std::time_t now = std::time(nullptr);
  if (ASN1_TIME_set(X509_getm_notBefore(certificate), now + validity.from.count()) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate), now + validity.until.count()) == nullptr)
    return false;
  const ASN1_TIME* end = issuer == nullptr ? nullptr : X509_get0_notAfter(issuer);
  if (end == nullptr || ASN1_TIME_compare(X509_get0_notAfter(certificate), end) <= 0) return true;
  return X509_set1_notAfter(certificate, end) == 1;
}

bool SetNames(X509* certificate, const std::string& name, X509* issuer) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* text = reinterpret_cast<const unsigned char*>(name.c_str());
  return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text, -1, -1, 0) == 1 &&
         X509_set_issuer_name(certificate, issuer == nullptr ? subject : X509_get_subject_name(issuer)) == 1;
}

bool AddExtension(X509* certificate, X509* issuer, const Extension& extension) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer == nullptr ? certificate : issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>> made(
      X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str()));
  return made != nullptr && X509_add_ext(certificate, made.get(), -1) == 1;
}

}  // namespace

absl::Status OpensslError(const std::string& what) {
  char text[256] = "no reason given";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return absl::InternalError(fmt::format("{}: {}", what, text));
}

absl::StatusOr<Key> MakeKey() {
  Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpensslError("cannot make a key");
  return key;
}

absl::StatusOr<std::string> PemOf(EVP_PKEY* key) {
  const Bytes bytes(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bytes.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return OpensslError("cannot write a key");
  return TextOf(bytes);
}

absl::StatusOr<std::string> PemOf(X509* certificate) {
  const Bytes bytes(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bytes.get(), certificate) != 1) return OpensslError("cannot write a certificate");
  return TextOf(bytes);
}

absl::StatusOr<Key> KeyOf(const std::string& pem, const std::string& path) {
  Key key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) return absl::InvalidArgumentError(path + ": holds no key in PEM without a password");
  return key;
}

absl::StatusOr<Certificate> CertificateOf(const std::string& pem, const std::string& path) {
  Certificate certificate(PEM_read_bio_X509(Reading(pem).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) return absl::InvalidArgumentError(path + ": holds no certificate in PEM");
  return certificate;
}

absl::StatusOr<Certificate> Sign(const Draft& draft, EVP_PKEY* subject_key, X509* issuer, EVP_PKEY* issuer_key) {
  Certificate certificate(X509_new());
  X509* made = certificate.get();
  if (made == nullptr || X509_set_version(made, X509_VERSION_3) != 1 || !SetSerial(made) ||
      !SetTimes(made, draft.validity, issuer) || !SetNames(made, draft.name, issuer) ||
      X509_set_pubkey(made, subject_key) != 1)
    return OpensslError("cannot fill in a certificate");
  for (const Extension& extension : draft.extensions)
    if (!AddExtension(made, issuer, extension))
      return OpensslError(fmt::format("cannot add \"{}\" to a certificate", extension.value));
  if (X509_sign(made, issuer_key, EVP_sha256()) == 0) return OpensslError("cannot sign a certificate");
  return certificate;
}

}  // namespace filigree::certs
