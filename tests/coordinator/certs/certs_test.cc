#include "coordinator/certs/certs.h"

#include <gtest/gtest.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "coordinator/certs/openssl.h"

namespace filigree::certs {
namespace {

std::string NewFolder() {
  std::string pattern = testing::TempDir() + "certs_XXXXXX";
  return mkdtemp(pattern.data());
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Certificate Read(const std::string& folder, const std::string& name) {
  auto certificate = CertificateOf(BytesOf(CertificatePath(folder, name)), name);
  EXPECT_TRUE(certificate.ok()) << certificate.status();
  return certificate.ok() ? *std::move(certificate) : nullptr;
}

// What OpenSSL says to a chain of two: X509_V_OK or the first thing that is wrong.
int Verified(const Certificate& leaf, const Certificate& authority, int purpose) {
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, authority.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context, purpose);
  X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return error;
}

TEST(Certs, ServersAndClientsAreWhatTheySay) {
  const std::string folder = NewFolder();
  EXPECT_FALSE(HasAuthority(folder));
  ASSERT_TRUE(MakeAuthority(folder, {}).ok());
  EXPECT_TRUE(HasAuthority(folder));
  ASSERT_TRUE(Issue(folder, {"coordinator", {"node-1.cluster", "10.0.0.1", "::1"}, ""}, {}).ok());
  ASSERT_TRUE(Issue(folder, {"alice", {}, "admin"}, {}).ok());
  const Certificate authority = Read(folder, "ca"), server = Read(folder, "coordinator"),
                    client = Read(folder, "alice");
  EXPECT_EQ(Verified(server, authority, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(Verified(client, authority, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_NE(Verified(client, authority, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_NE(Verified(server, authority, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_EQ(X509_check_host(server.get(), "node-1.cluster", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(server.get(), "node-2.cluster", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(server.get(), "10.0.0.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(server.get(), "::1", 0), 1);
  EXPECT_EQ(EVP_PKEY_get_bits(X509_get0_pubkey(server.get())), 256);
}

TEST(Certs, AnotherAuthorityDoesNotVouch) {
  const std::string ours = NewFolder(), theirs = NewFolder();
  ASSERT_TRUE(MakeAuthority(ours, {}).ok());
  ASSERT_TRUE(MakeAuthority(theirs, {}).ok());
  ASSERT_TRUE(Issue(theirs, {"mallory", {}, "admin"}, {}).ok());
  EXPECT_NE(Verified(Read(theirs, "mallory"), Read(ours, "ca"), X509_PURPOSE_SSL_CLIENT), X509_V_OK);
}

// A client's certificate cannot sign another one.
TEST(Certs, OnlyTheAuthoritySigns) {
  const std::string folder = NewFolder(), forged = NewFolder();
  ASSERT_TRUE(MakeAuthority(folder, {}).ok());
  ASSERT_TRUE(Issue(folder, {"alice", {}, "reader"}, {}).ok());
  std::filesystem::copy_file(CertificatePath(folder, "alice"), CertificatePath(forged, "ca"));
  std::filesystem::copy_file(KeyPath(folder, "alice"), KeyPath(forged, "ca"));
  const absl::Status status = Issue(forged, {"bob", {}, "admin"}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST(Certs, FilesAreTheOwnersAloneAndNeverOverwritten) {
  const std::string folder = NewFolder();
  ASSERT_TRUE(MakeAuthority(folder, {}).ok());
  ASSERT_TRUE(Issue(folder, {"alice", {}, "admin"}, {}).ok());
  for (const char* name : {"ca", "alice"})
    for (const std::string& path : {CertificatePath(folder, name), KeyPath(folder, name)}) {
      struct stat facts = {};
      ASSERT_EQ(stat(path.c_str(), &facts), 0) << path;
      EXPECT_EQ(facts.st_mode & 0777, 0600u) << path;
    }
  const std::string key = BytesOf(KeyPath(folder, "alice")), authority = BytesOf(KeyPath(folder, "ca"));
  EXPECT_EQ(Issue(folder, {"alice", {}, "reader"}, {}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(MakeAuthority(folder, {}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(BytesOf(KeyPath(folder, "alice")), key);
  EXPECT_EQ(BytesOf(KeyPath(folder, "ca")), authority);
  // The certificate alone is there: nothing new is left behind.
  ASSERT_EQ(unlink(KeyPath(folder, "alice").c_str()), 0);
  EXPECT_EQ(Issue(folder, {"alice", {}, "reader"}, {}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(std::filesystem::exists(KeyPath(folder, "alice")));
}

// Whatever a worker may be called, it can have a certificate.
TEST(Certs, NamesAreAsLongAsThoseOfWorkers) {
  const std::string folder = NewFolder(), worker(64, 'w');
  ASSERT_TRUE(MakeAuthority(folder, {}).ok());
  const absl::Status status = Issue(folder, {"worker-" + worker, {}, "worker/" + worker}, {});
  ASSERT_TRUE(status.ok()) << status;
  const Certificate authority = Read(folder, "ca"), client = Read(folder, "worker-" + worker);
  EXPECT_EQ(Verified(client, authority, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_EQ(Issue(folder, {std::string(kMostNameBytes + 1, 'w'), {}, "admin"}, {}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Certs, NothingOutlivesItsAuthority) {
  const std::string folder = NewFolder();
  Validity day;
  day.until = std::chrono::hours(24);
  ASSERT_TRUE(MakeAuthority(folder, day).ok());
  ASSERT_TRUE(Issue(folder, {"alice", {}, "admin"}, {}).ok());
  const Certificate authority = Read(folder, "ca"), alice = Read(folder, "alice");
  EXPECT_EQ(ASN1_TIME_compare(X509_get0_notAfter(alice.get()), X509_get0_notAfter(authority.get())), 0);
  const std::string old = NewFolder();
  ASSERT_TRUE(MakeAuthority(old, {std::chrono::seconds(-200), std::chrono::seconds(-100)}).ok());
  EXPECT_EQ(Issue(old, {"alice", {}, "admin"}, {}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Certs, SubjectsThatAreNoneAreRefused) {
  const std::string folder = NewFolder();
  ASSERT_TRUE(MakeAuthority(folder, {}).ok());
  const Subject subjects[] = {
      {"../alice", {}, "admin"},
      {"ca", {}, "admin"},
      {"alice", {}, ""},
      {"alice", {"host"}, "admin"},
      {"alice", {}, "root"},
      {"alice", {}, "worker/"},
      {"alice", {}, "worker/a,URI:filigree://admin"},
      {"server", {"host,URI:filigree://admin"}, ""},
      {"server", {""}, ""},
      {"server", {"*"}, ""},
  };
  for (const Subject& subject : subjects)
    EXPECT_EQ(Issue(folder, subject, {}).code(), absl::StatusCode::kInvalidArgument) << subject.name << subject.role;
  EXPECT_EQ(Issue(NewFolder(), {"alice", {}, "admin"}, {}).code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(chmod(KeyPath(folder, "ca").c_str(), 0644), 0);
  EXPECT_EQ(Issue(folder, {"alice", {}, "admin"}, {}).code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace filigree::certs
