#ifndef FILIGREE_COORDINATOR_CERTS_OPENSSL_H_
#define FILIGREE_COORDINATOR_CERTS_OPENSSL_H_

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/certs/certs.h"

// OpenSSL as this room uses it: owners that free, errors as Status.

namespace filigree::certs {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;

// Internal: what OpenSSL last complained of, beginning with `what`.
absl::Status OpensslError(const std::string& what);

absl::StatusOr<Key> MakeKey();
absl::StatusOr<std::string> PemOf(EVP_PKEY* key);
absl::StatusOr<std::string> PemOf(X509* certificate);
// InvalidArgument: `path`, where the text came from, holds none.
absl::StatusOr<Key> KeyOf(const std::string& pem, const std::string& path);
absl::StatusOr<Certificate> CertificateOf(const std::string& pem, const std::string& path);

// One extension, as openssl.cnf(5) writes it: {NID_basic_constraints, "critical,CA:TRUE"}.
struct Extension {
  int nid;
  std::string value;
};

struct Draft {
  std::string name;  // common name
  Validity validity;
  std::vector<Extension> extensions;
};

// `issuer` null: signs itself.
absl::StatusOr<Certificate> Sign(const Draft& draft, EVP_PKEY* subject_key, X509* issuer, EVP_PKEY* issuer_key);

}  // namespace filigree::certs

#endif  // FILIGREE_COORDINATOR_CERTS_OPENSSL_H_
