#include "coordinator/certs/certs.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "coordinator/certs/openssl.h"
#include "coordinator/certs/secret_file.h"
#include "proto/contract/ids.h"
#include "proto/rpc/channel.h"

namespace filigree::certs {
namespace {

constexpr char kAuthority[] = "ca";
constexpr size_t kMostHosts = 64;

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// A DNS name, perhaps with a first label "*". Nothing that OpenSSL's text form of a list would read otherwise.
bool IsHostName(std::string_view host) {
  if (host.substr(0, 2) == "*.") host.remove_prefix(2);
  if (host.empty() || host.size() > 253 || host.front() == '.' || host.front() == '-') return false;
  return std::all_of(host.begin(), host.end(), [](char c) { return contract::IsId({&c, 1}) && c != '_'; });
}

bool IsRole(std::string_view role) {
  constexpr std::string_view kOfOne = "worker/";
  if (role == "admin" || role == "reader" || role == "worker") return true;
  return role.substr(0, kOfOne.size()) == kOfOne && contract::IsId(role.substr(kOfOne.size()));
}

// A certificate that was made for an id is called after it and after what it is for, so it may be longer than one.
absl::Status CheckName(const std::string& name) {
  const bool ids = std::all_of(name.begin(), name.end(), [](char c) { return contract::IsId({&c, 1}); });
  if (ids && !name.empty() && name.size() <= kMostNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("name of a certificate: {} is no name; write 1 to {} of A-Z a-z 0-9 . _ -", contract::Shown(name),
                  kMostNameBytes));
}

absl::Status CheckSubject(const Subject& subject) {
  if (absl::Status status = CheckName(subject.name); !status.ok()) return status;
  if (subject.name == kAuthority)
    return absl::InvalidArgumentError("name of a certificate: \"ca\" is the authority's own; choose another");
  if (subject.hosts.empty() == subject.role.empty())
    return absl::InvalidArgumentError(
        fmt::format("certificate {}: a server has hosts, a client has a role, and nothing has both", subject.name));
  if (!subject.role.empty() && !IsRole(subject.role))
    return absl::InvalidArgumentError(
        fmt::format("certificate {}: {} is no role; admin, reader, worker or worker/NAME was expected", subject.name,
                    contract::Shown(subject.role)));
  if (subject.hosts.size() > kMostHosts)
    return absl::InvalidArgumentError(
        fmt::format("certificate {}: {} hosts, at most {} are taken", subject.name, subject.hosts.size(), kMostHosts));
  for (const std::string& host : subject.hosts)
    if (!IsAddress(host) && !IsHostName(host))
      return absl::InvalidArgumentError(fmt::format("certificate {}: {} is neither a DNS name nor an IP address",
                                                    subject.name, contract::Shown(host)));
  return absl::OkStatus();
}

std::string AlternativeNames(const Subject& subject) {
  if (!subject.role.empty()) return "URI:filigree://" + subject.role;
  std::string names;
  for (const std::string& host : subject.hosts)
    names += fmt::format("{}{}:{}", names.empty() ? "" : ",", IsAddress(host) ? "IP" : "DNS", host);
  return names;
}

std::vector<Extension> ExtensionsOf(const Subject& subject) {
  return {{NID_basic_constraints, "critical,CA:FALSE"},
          {NID_key_usage, "critical,digitalSignature"},
          {NID_ext_key_usage, subject.role.empty() ? "serverAuth" : "clientAuth"},
          {NID_subject_key_identifier, "hash"},
          {NID_authority_key_identifier, "keyid:always"},
          {NID_subject_alt_name, AlternativeNames(subject)}};
}

struct Authority {
  Key key;
  Certificate certificate;
};

absl::StatusOr<Authority> ReadAuthority(const std::string& folder) {
  const std::string certificate_path = CertificatePath(folder, kAuthority), key_path = KeyPath(folder, kAuthority);
  const auto certificate_pem = rpc::ReadCredentialFile(certificate_path, false);
  if (!certificate_pem.ok()) return certificate_pem.status();
  const auto key_pem = rpc::ReadCredentialFile(key_path, true);
  if (!key_pem.ok()) return key_pem.status();
  auto certificate = CertificateOf(*certificate_pem, certificate_path);
  if (!certificate.ok()) return certificate.status();
  auto key = KeyOf(*key_pem, key_path);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificate->get(), key->get()) != 1 || X509_check_ca(certificate->get()) == 0)
    return absl::InvalidArgumentError(fmt::format("{}: is no authority whose key {} is", certificate_path, key_path));
  if (X509_cmp_current_time(X509_get0_notAfter(certificate->get())) < 0)
    return absl::InvalidArgumentError(
        fmt::format("{}: the authority has expired; make another one in another folder", certificate_path));
  return Authority{*std::move(key), *std::move(certificate)};
}

absl::Status WritePair(const std::string& folder, const std::string& name, EVP_PKEY* key, X509* certificate) {
  const auto key_pem = PemOf(key);
  if (!key_pem.ok()) return key_pem.status();
  const auto certificate_pem = PemOf(certificate);
  if (!certificate_pem.ok()) return certificate_pem.status();
  return WriteNewFiles({{KeyPath(folder, name), *key_pem}, {CertificatePath(folder, name), *certificate_pem}});
}

}  // namespace

std::string CertificatePath(const std::string& folder, const std::string& name) { return folder + "/" + name + ".pem"; }
std::string KeyPath(const std::string& folder, const std::string& name) { return folder + "/" + name + ".key"; }

bool HasAuthority(const std::string& folder) {
  struct stat facts = {};
  return stat(CertificatePath(folder, kAuthority).c_str(), &facts) == 0;
}

absl::Status MakeAuthority(const std::string& folder, const Validity& validity) {
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return absl::PermissionDeniedError(fmt::format("{}: cannot be made: {}", folder, std::strerror(errno)));
  const auto key = MakeKey();
  if (!key.ok()) return key.status();
  const Draft draft = {"filigree cluster CA",
                       validity,
                       {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                        {NID_key_usage, "critical,keyCertSign,cRLSign"},
                        {NID_subject_key_identifier, "hash"}}};
  const auto certificate = Sign(draft, key->get(), nullptr, key->get());
  if (!certificate.ok()) return certificate.status();
  return WritePair(folder, kAuthority, key->get(), certificate->get());
}

absl::Status Issue(const std::string& folder, const Subject& subject, const Validity& validity) {
  if (absl::Status status = CheckSubject(subject); !status.ok()) return status;
  const auto authority = ReadAuthority(folder);
  if (!authority.ok()) return authority.status();
  const auto key = MakeKey();
  if (!key.ok()) return key.status();
  // Roles are in the alternative name: nobody goes by the common name, which X.509 cuts at 64 bytes.
  const auto certificate = Sign({subject.name.substr(0, contract::kMaxIdBytes), validity, ExtensionsOf(subject)},
                                key->get(), authority->certificate.get(), authority->key.get());
  if (!certificate.ok()) return certificate.status();
  return WritePair(folder, subject.name, key->get(), certificate->get());
}

}  // namespace filigree::certs
