#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <string>

#include "coordinator/certs/certs.h"
#include "coordinator/rpc/caller.h"
#include "coordinator/rpc/server.h"
#include "tests/coordinator/rpc/rig.h"

// Who gets in, and how far. Certificates and tokens over real TLS on loopback.

namespace filigree::coordinator {
namespace {

using Users = v1::Coordinator::Stub;
using Workers = v1::Workers::Stub;

constexpr char kAdminToken[] = "admin-token-0123456789", kReaderToken[] = "reader-token-0123456789",
               kWorkerToken[] = "worker-token-0123456789";

void Write(const std::string& path, const std::string& text, mode_t mode = 0600) {
  std::ofstream(path) << text;
  ASSERT_EQ(chmod(path.c_str(), mode), 0);
}

// A folder with a CA, a server's certificate, clients of every kind, and tokens.
class Security : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "security_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    ASSERT_TRUE(certs::MakeAuthority(folder_, {}).ok());
    ASSERT_TRUE(certs::Issue(folder_, {"server", {"127.0.0.1", "localhost"}, ""}, {}).ok());
    for (const auto& [name, role] : {std::pair("alice", "admin"), std::pair("grafana", "reader"),
                                     std::pair("pool", "worker"), std::pair("node", "worker/a")})
      ASSERT_TRUE(certs::Issue(folder_, {name, {}, role}, {}).ok());
    Write(folder_ + "/tokens", std::string("# people\nadmin ") + kAdminToken + "\nreader " + kReaderToken +
                                   "\n\nworker:a " + kWorkerToken + "\n");
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  ServerOptions Options(bool certificates, bool tokens) const {
    ServerOptions options = OnLoopback();
    options.security.certificate = Path("server.pem");
    options.security.key = Path("server.key");
    if (certificates) options.security.client_ca = Path("ca.pem");
    if (tokens) options.security.token_file = Path("tokens");
    return options;
  }

  rpc::ChannelOptions WithCertificate(const std::string& name) const {
    rpc::ChannelOptions options;
    options.ca = Path("ca.pem");
    options.certificate = Path(name + ".pem");
    options.key = Path(name + ".key");
    return options;
  }

  rpc::ChannelOptions WithToken(const std::string& token) {
    rpc::ChannelOptions options;
    options.ca = Path("ca.pem");
    options.token_file = Path("token" + std::to_string(++token_files_));
    Write(options.token_file, token + "\n");
    return options;
  }

  std::string folder_;
  int token_files_ = 0;
};

absl::StatusCode Listing(Rig& rig) {
  return Call(rig.users, &Users::List, v1::ListRequest(), std::chrono::seconds(5)).status().code();
}
absl::StatusCode Submitting(Rig& rig) { return Call(rig.users, &Users::Submit, Job("night")).status().code(); }

absl::StatusCode Registering(Rig& rig, const std::string& name) {
  v1::RegisterRequest request;
  request.set_name(name);
  request.set_host("h");
  request.set_slots(1);
  request.set_nonce("n-" + name);
  return Call(rig.workers, &Workers::Register, request).status().code();
}

// A handshake that fails: the call waits for another one until its deadline.
void ExpectNoWayIn(Rig& rig) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::ListReply reply;
  const grpc::Status status = rig.users->List(&context, {}, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST_F(Security, CertificatesCarryRoles) {
  Rig rig(Options(true, false), WithCertificate("alice"));
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Registering(rig, "a"), absl::StatusCode::kPermissionDenied);

  rpc::ChannelOptions client = WithCertificate("grafana");
  client.address = rig.server->address();
  rig.Connect(client);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Registering(rig, "a"), absl::StatusCode::kPermissionDenied);

  client = WithCertificate("pool");
  client.address = rig.server->address();
  rig.Connect(client);
  EXPECT_EQ(Registering(rig, "b"), absl::StatusCode::kOk);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kPermissionDenied);
}

TEST_F(Security, AWorkersCertificateSpeaksForThatWorkerOnly) {
  Rig rig(Options(true, false), WithCertificate("node"));
  EXPECT_EQ(Registering(rig, "a"), absl::StatusCode::kOk);
  EXPECT_EQ(Registering(rig, "b"), absl::StatusCode::kPermissionDenied);
  v1::HeartbeatRequest beat;
  beat.mutable_speaker()->set_worker("b");
  beat.mutable_speaker()->set_incarnation(1);
  beat.set_sequence(1);
  const auto stolen = Call(rig.workers, &Workers::Heartbeat, beat);
  EXPECT_TRUE(Says(stolen.status(), absl::StatusCode::kPermissionDenied, "worker a")) << stolen.status();
  v1::SetKeyRequest set;
  *set.mutable_speaker() = beat.speaker();
  set.set_job("night-1");
  set.set_key("k");
  EXPECT_EQ(Call(rig.workers, &Workers::SetKey, set).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(Security, ExpiredForeignAndMissingCertificatesStayOutside) {
  ASSERT_TRUE(
      certs::Issue(folder_, {"late", {}, "admin"}, {std::chrono::seconds(-200), std::chrono::seconds(-100)}).ok());
  const std::string theirs = folder_ + "/theirs";
  ASSERT_TRUE(certs::MakeAuthority(theirs, {}).ok());
  ASSERT_TRUE(certs::Issue(theirs, {"mallory", {}, "admin"}, {}).ok());
  Rig rig(Options(true, false), WithCertificate("alice"));
  rpc::ChannelOptions client = WithCertificate("late");
  client.address = rig.server->address();
  EXPECT_TRUE(absl::IsInvalidArgument(rpc::OpenChannel(client).status()));  // we look ourselves, and others may not
  rig.ConnectUnchecked(client);
  ExpectNoWayIn(rig);
  client = WithCertificate("alice");
  client.address = rig.server->address();
  rig.ConnectUnchecked(client);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  client.certificate = theirs + "/mallory.pem";
  client.key = theirs + "/mallory.key";
  rig.Connect(client);
  ExpectNoWayIn(rig);
  client.certificate.clear();
  client.key.clear();
  rig.Connect(client);
  ExpectNoWayIn(rig);
  // The other way round: a server that our CA does not know gets no call from us.
  client = WithCertificate("alice");
  client.address = rig.server->address();
  client.ca = theirs + "/ca.pem";
  rig.Connect(client);
  ExpectNoWayIn(rig);
  client.ca = Path("ca.pem");
  rig.Connect(client);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
}

// Where either will do, one of them must be shown.
TEST_F(Security, NeitherCertificateNorTokenIsNobody) {
  Rig rig(Options(true, true), WithToken(kAdminToken));
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  rpc::ChannelOptions client = WithCertificate("grafana");
  client.address = rig.server->address();
  rig.Connect(client);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kPermissionDenied);
  client.certificate.clear();
  client.key.clear();
  rig.Connect(client);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kUnauthenticated);
}

// Bytes that are no message: who has no business with the method is told so, not that they cannot be read.
TEST_F(Security, MessagesOfThoseWhoMayNotSendThemAreNotRead) {
  constexpr char kHeartbeat[] = "/filigree.v1.Workers/Heartbeat";
  const std::string garbage = "\xff\xff\xff\xff";
  Rig rig(Options(true, true), WithToken(kReaderToken));
  EXPECT_EQ(SendBytes(rig.channel, kHeartbeat, garbage).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  const auto as = [&](rpc::ChannelOptions client) {
    client.address = rig.server->address();
    rig.Connect(client);
    return SendBytes(rig.channel, kHeartbeat, garbage).error_code();
  };
  rpc::ChannelOptions nobody = WithCertificate("alice");
  nobody.certificate.clear();
  nobody.key.clear();
  EXPECT_EQ(as(nobody), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(as(WithToken("wrong-token-0123456789")), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(as(WithCertificate("grafana")), grpc::StatusCode::PERMISSION_DENIED);
  const grpc::StatusCode read = as(WithToken(kWorkerToken));
  EXPECT_NE(read, grpc::StatusCode::OK);
  EXPECT_NE(read, grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_NE(read, grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(Security, TokensCarryRoles) {
  Rig rig(Options(false, true), WithToken(kAdminToken));
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Registering(rig, "a"), absl::StatusCode::kPermissionDenied);
  const auto as = [&](const std::string& token) {
    rpc::ChannelOptions client = WithToken(token);
    client.address = rig.server->address();
    rig.Connect(client);
  };
  as(kReaderToken);
  EXPECT_EQ(Listing(rig), absl::StatusCode::kOk);
  EXPECT_EQ(Submitting(rig), absl::StatusCode::kPermissionDenied);
  as(kWorkerToken);
  EXPECT_EQ(Registering(rig, "a"), absl::StatusCode::kOk);
  EXPECT_EQ(Registering(rig, "b"), absl::StatusCode::kPermissionDenied);
  as("wrong-token-0123456789");
  EXPECT_EQ(Listing(rig), absl::StatusCode::kUnauthenticated);
  as(std::string(kAdminToken) + "x");
  EXPECT_EQ(Listing(rig), absl::StatusCode::kUnauthenticated);
}

TEST_F(Security, AWatchAsksForItsRoleToo) {
  Rig rig(Options(false, true), WithToken(kWorkerToken));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const auto stream = rig.users->Watch(&context, {});
  v1::WatchReply reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(Security, ClosedByDefault) {
  const auto refused = [&](ServerOptions options, const std::string& part) {
    MemoryJournal journal;
    const auto server = Server::Start(options, journal.tables(), journal.keep());
    EXPECT_TRUE(Says(server.status(), absl::StatusCode::kInvalidArgument, part)) << server.status();
    EXPECT_EQ(journal.tables().epoch(), 0);  // not begun
  };
  ServerOptions options = OnLoopback();
  for (const char* address : {"0.0.0.0:0", "[::]:0", "10.1.2.3:7070", "example.org:7070"}) {
    options.address = address;
    refused(options, "can be reached by others");
  }
  options.address = "0.0.0.0:0";
  options.security.token_file = Path("tokens");
  refused(options, "TLS only");
  options = Options(false, false);
  refused(options, "lets everybody in");
  options = Options(true, false);
  options.security.key.clear();
  refused(options, "go together");
  options = Options(true, false);
  options.security.key = Path("alice.key");
  refused(options, "is not the key of");
  ASSERT_TRUE(
      certs::Issue(folder_, {"old", {"127.0.0.1"}, ""}, {std::chrono::seconds(-200), std::chrono::seconds(-100)}).ok());
  options.security.certificate = Path("old.pem");
  options.security.key = Path("old.key");
  refused(options, "expired");
  options = OnLoopback();
  options.address = "nonsense";
  refused(options, "HOST:PORT");
}

TEST_F(Security, SecretsThatOthersMayReadAreRefused) {
  MemoryJournal journal;
  ASSERT_EQ(chmod(Path("tokens").c_str(), 0644), 0);
  EXPECT_TRUE(Says(Server::Start(Options(false, true), journal.tables(), journal.keep()).status(),
                   absl::StatusCode::kPermissionDenied, "chmod 600"));
  ASSERT_EQ(chmod(Path("server.key").c_str(), 0640), 0);
  EXPECT_TRUE(Says(Server::Start(Options(true, false), journal.tables(), journal.keep()).status(),
                   absl::StatusCode::kPermissionDenied, "chmod 600"));
}

TEST(Roles, EveryMethodIsForOneKindOfCaller) {
  const Caller reader{Role::kReader, ""}, admin{Role::kAdmin, ""}, worker{Role::kWorker, ""};
  for (int m = 0; m < kMethods; ++m) {
    const auto method = static_cast<Method>(m);
    const bool of_workers = method >= Method::kRegister;
    EXPECT_EQ(CheckRole(worker, method).ok(), of_workers) << Name(method);
    EXPECT_EQ(CheckRole(admin, method).ok(), !of_workers) << Name(method);
    const bool changes = method == Method::kSubmit || method == Method::kCancel || method == Method::kDrain;
    EXPECT_EQ(CheckRole(reader, method).ok(), !of_workers && !changes) << Name(method);
    EXPECT_TRUE(CheckRole({Role::kEverything, ""}, method).ok());
  }
}

TEST(Roles, UrisAreTakenLiterally) {
  Caller caller;
  EXPECT_TRUE(ParseRoleUri("filigree://worker/node-1", caller));
  EXPECT_EQ(caller.role, Role::kWorker);
  EXPECT_EQ(caller.worker, "node-1");
  EXPECT_TRUE(ParseRoleUri("filigree://admin", caller));
  EXPECT_EQ(caller.role, Role::kAdmin);
  EXPECT_EQ(caller.worker, "");
  for (const char* uri :
       {"", "filigree://", "filigree://admin/", "filigree://Admin", "http://admin", "filigree://worker/",
        "filigree://worker/a/b", "filigree://worker/a b", "filigree://everything", "filigree:admin"})
    EXPECT_FALSE(ParseRoleUri(uri, caller)) << uri;
}

}  // namespace
}  // namespace filigree::coordinator
