#ifndef FILIGREE_COORDINATOR_CERTS_CERTS_H_
#define FILIGREE_COORDINATOR_CERTS_CERTS_H_

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// A private certificate authority (CA) for a small cluster, in one folder:
//
//     ca.pem           its certificate: everybody has a copy
//     ca.key           its key: whoever has it can be anybody, so it stays where it was made
//     NAME.pem, .key   what it signed
//
// Keys are ECDSA on P-256, signatures SHA-256, serial numbers random. Files are made with mode 0600 and never
// overwritten: AlreadyExists names the first one that is there, and nothing is changed.

namespace filigree::certs {

// From `from` to `until`, counted from now; the authority's own end cuts it short.
struct Validity {
  std::chrono::seconds from{-86'400};  // clocks differ, by hours where a time zone is wrong
  std::chrono::seconds until{std::chrono::hours(24 * 365)};
};

// Makes `folder` where it is missing (0700), a CA key and its certificate, which can sign and nothing else.
absl::Status MakeAuthority(const std::string& folder, const Validity& validity);

// Whether `folder` holds one.
bool HasAuthority(const std::string& folder);

// Letters of an id. "worker-NAME" is one for every worker's name.
inline constexpr size_t kMostNameBytes = 80;

struct Subject {
  std::string name;                // of the files, and (64 bytes of it) the certificate's common name
  std::vector<std::string> hosts;  // DNS names and IP addresses: a server's; empty: a client's
  std::string role;                // of a client: "admin", "reader", "worker" or "worker/NAME"; empty: a server's
};

// Makes a key and has the folder's CA sign a certificate for it. InvalidArgument: the subject, or a CA that has expired
// or is none; NotFound: no CA in the folder; PermissionDenied: its key is open to others.
absl::Status Issue(const std::string& folder, const Subject& subject, const Validity& validity);

// The files of `name` in `folder`.
std::string CertificatePath(const std::string& folder, const std::string& name);
std::string KeyPath(const std::string& folder, const std::string& name);

}  // namespace filigree::certs

#endif  // FILIGREE_COORDINATOR_CERTS_CERTS_H_
