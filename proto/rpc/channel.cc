#include "proto/rpc/channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "proto/contract/ids.h"
#include "proto/rpc/pem.h"

namespace filigree::rpc {
namespace {

constexpr size_t kMostCredentialBytes = 1 << 20;

// Adds "authorization: Bearer TOKEN" to every call; gRPC lets it do so over TLS only.
class BearerToken : public grpc::MetadataCredentialsPlugin {
 public:
  explicit BearerToken(std::string token) : header_("Bearer " + std::move(token)) {}
  grpc::Status GetMetadata(grpc::string_ref /*service*/, grpc::string_ref /*method*/, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("authorization", header_);
    return grpc::Status::OK;
  }

 private:
  const std::string header_;
};

absl::Status CheckTogether(const ChannelOptions& options, const HostPort& address) {
  if (options.certificate.empty() != options.key.empty())
    return absl::InvalidArgumentError("a certificate and its key go together; give both files or none");
  if (!options.ca.empty()) return absl::OkStatus();
  if (!options.certificate.empty() || !options.token_file.empty())
    return absl::InvalidArgumentError(
        "a certificate or a token is only shown over TLS to a server that is known; give its CA's file too (--tls-ca)");
  if (!IsLoopback(address.host))
    return absl::InvalidArgumentError(
        fmt::format("{} is another host, and nothing is sent there in plain text; give the CA's file (--tls-ca) and a "
                    "certificate or a token",
                    contract::Shown(address.host)));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(const ChannelOptions& options) {
  if (options.ca.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions tls;
  const auto ca = ReadCredentialFile(options.ca, false);
  if (!ca.ok()) return ca.status();
  if (absl::Status status = CheckAuthority(*ca, options.ca); !status.ok()) return status;
  tls.pem_root_certs = *ca;
  if (!options.certificate.empty()) {
    const auto certificate = ReadCredentialFile(options.certificate, false);
    if (!certificate.ok()) return certificate.status();
    const auto key = ReadCredentialFile(options.key, true);
    if (!key.ok()) return key.status();
    if (absl::Status status = CheckPair(*certificate, options.certificate, *key, options.key); !status.ok())
      return status;
    tls.pem_cert_chain = *certificate;
    tls.pem_private_key = *key;
  }
  auto credentials = grpc::SslCredentials(tls);
  if (options.token_file.empty()) return credentials;
  auto token = ReadCredentialFile(options.token_file, true);
  if (!token.ok()) return token.status();
  while (!token->empty() && (token->back() == '\n' || token->back() == '\r' || token->back() == ' ')) token->pop_back();
  const bool visible = std::all_of(token->begin(), token->end(), [](char c) { return c > ' ' && c <= '~'; });
  if (token->empty() || !visible)
    return absl::InvalidArgumentError(
        fmt::format("{}: one token of visible characters was expected, on one line", options.token_file));
  return grpc::CompositeChannelCredentials(
      credentials, grpc::MetadataCredentialsFromPlugin(std::make_unique<BearerToken>(*std::move(token))));
}

}  // namespace

absl::StatusOr<std::string> ReadCredentialFile(const std::string& path, bool secret) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const std::string text = fmt::format("{}: cannot be opened: {}", path, std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(text) : absl::PermissionDeniedError(text);
  }
  struct stat facts = {};
  std::string bytes;
  absl::Status status = absl::OkStatus();
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    status = absl::InvalidArgumentError(fmt::format("{}: is no regular file", path));
  } else if (secret && (facts.st_mode & 077) != 0) {
    status = absl::PermissionDeniedError(fmt::format(
        "{}: others than its owner may use it (mode {:o}); run: chmod 600 {}", path, facts.st_mode & 0777, path));
  }
  char buffer[8192];
  while (status.ok()) {
    const ssize_t count = read(file, buffer, sizeof buffer);
    if (count < 0)
      status = absl::UnavailableError(fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
    else
      bytes.append(buffer, static_cast<size_t>(count));
    if (bytes.size() > kMostCredentialBytes)
      status = absl::InvalidArgumentError(fmt::format("{}: is larger than {} bytes", path, kMostCredentialBytes));
    if (count <= 0) break;
  }
  close(file);
  if (!status.ok()) return status;
  return bytes;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ChannelOptions& options) {
  const auto address = ParseAddress("address of the coordinator", options.address);
  if (!address.ok()) return address.status();
  if (absl::Status status = CheckTogether(options, *address); !status.ok()) return status;
  auto credentials = CredentialsOf(options);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  // A coordinator that is started anew is found again within a second.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // Proxies of the environment are for the web, not for a cluster.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  return grpc::CreateCustomChannel(options.address, *credentials, arguments);
}

}  // namespace filigree::rpc
