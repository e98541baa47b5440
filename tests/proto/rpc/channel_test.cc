#include "proto/rpc/channel.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace filigree::rpc {
namespace {

// Good for a hundred years; its key is nobody's.
constexpr char kCertificate[] = R"(-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUYxX8Y/+XQ4ViLSwRVp20xOcz0MAwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjEyMDEwMjUyMzlaGA8yMTI2MTEwNzAyNTIz
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIPT
JIjDZ1WpM9xZk4qpyvw0MsCGmeSFQtfSVd2REBlJv33wiHs7GkcjQYy3IO/I6f5z
6wsNZyYoeo6yNxsMPMyjUzBRMB0GA1UdDgQWBBRuIfcMWlHjG0mPj6aCdGOlXbVw
/DAfBgNVHSMEGDAWgBRuIfcMWlHjG0mPj6aCdGOlXbVw/DAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIA4rI/P6svbUcR4mP/WyKImS/RWj0u0DHueY
ycgfH4FvAiAracS2het5GhmjzFVuo78OSrWndgCxwigUzZmfNksAxg==
-----END CERTIFICATE-----
)";

std::string Written(const std::string& name, const std::string& text, mode_t mode) {
  std::string path = testing::TempDir() + "channel_test_" + std::to_string(getpid()) + "_" + name;
  std::ofstream(path) << text;
  EXPECT_EQ(chmod(path.c_str(), mode), 0);
  return path;
}

TEST(Channel, AddressesAreTakenApart) {
  const auto named = ParseAddress("address", "node-1.cluster:7070");
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->host, "node-1.cluster");
  EXPECT_EQ(named->port, 7070);
  const auto v6 = ParseAddress("address", "[::1]:0");
  ASSERT_TRUE(v6.ok()) << v6.status();
  EXPECT_EQ(v6->host, "::1");
  for (const char* text : {"", ":", "host", "host:", ":80", "host:65536", "host:123456", "host:-1", "host: 1", "a b:1",
                           "::1:80", "dns:///host:1", "unix:/tmp/x", "host:7070\n", "[]:1"})
    EXPECT_EQ(ParseAddress("address", text).status().code(), absl::StatusCode::kInvalidArgument) << text;
}

TEST(Channel, LoopbackIsWhatNobodyElseReaches) {
  for (const char* host : {"127.0.0.1", "127.8.9.1", "::1", "localhost"}) EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "localhost.example", "127.0.0.1.example", "127.1",
                           "::ffff:10.0.0.1", ""})
    EXPECT_FALSE(IsLoopback(host)) << host;
}

TEST(Channel, NothingTravelsInPlainTextToAnotherHost) {
  ChannelOptions options;
  options.address = "10.0.0.1:7070";
  EXPECT_EQ(OpenChannel(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.address = "127.0.0.1:7070";
  EXPECT_TRUE(OpenChannel(options).ok());
  options.token_file = Written("token", "0123456789abcdef\n", 0600);
  EXPECT_EQ(OpenChannel(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Channel, SecretsThatOthersMayReadAreRefused) {
  const std::string open = Written("open", "0123456789abcdef\n", 0640);
  const auto refused = ReadCredentialFile(open, true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(std::string(refused.status().message()).find("chmod 600"), std::string::npos);
  EXPECT_TRUE(ReadCredentialFile(open, false).ok());
  EXPECT_EQ(ReadCredentialFile(open + ".none", true).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadCredentialFile(testing::TempDir(), false).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadCredentialFile("/dev/zero", false).status().code(), absl::StatusCode::kInvalidArgument);
}

// gRPC would take them and say at the first call that it has no addresses.
TEST(Channel, FilesThatAreNoCertificatesAreNamedBeforeAnythingIsSent) {
  const auto refused = [](const ChannelOptions& options, const std::string& file, const std::string& part) {
    const absl::Status status = OpenChannel(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(std::string(status.message()).rfind(file + ": ", 0), 0u) << status;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  };
  ChannelOptions options;
  for (const char* text :
       {"", "coordinator:7070\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}) {
    options.ca = Written("ca", text, 0600);
    refused(options, options.ca, "BEGIN CERTIFICATE");
  }
  options.ca = Written("good_ca", kCertificate, 0600);
  EXPECT_TRUE(OpenChannel(options).ok());
  options.certificate = Written("certificate", "none", 0600);
  options.key = Written("key", "none", 0600);
  refused(options, options.certificate, "BEGIN CERTIFICATE");
  options.certificate = options.ca;
  refused(options, options.key, "no key in PEM");
}

}  // namespace
}  // namespace filigree::rpc
