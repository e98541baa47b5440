#include "proto/http/site_server.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <memory>
#include <string>
#include <utility>

namespace filigree::http {
namespace {

// Says what it was asked.
SiteOptions Echo() {
  SiteOptions options;
  options.what = "--site";
  options.address = "127.0.0.1:0";
  options.headers = {{"X-Of-All", "yes"}};
  options.answer = [](const SiteRequest& request) {
    const auto found = request.query.find("q");
    const std::string query = found == request.query.end() ? "none" : found->second;
    return SiteReply{request.path == "/none" ? 404 : 200,
                     "text/plain",
                     request.method + " " + request.path + " q=" + query + " h=" + request.Header("x-one"),
                     {{"X-Of-One", "1"}}};
  };
  return options;
}

class SiteServerTest : public testing::Test {
 protected:
  SiteServerTest() {
    auto started = SiteServer::Start(Echo());
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    client_ = std::make_unique<httplib::Client>("http://" + server_->address());
  }
  std::unique_ptr<SiteServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(SiteServerTest, RequestsArriveDecodedAndAnswersWhole) {
  auto reply = client_->Get("/a%20b?q=x%26y&q=z", {{"X-One", "1"}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "GET /a b q=x&y h=1");
  EXPECT_EQ(reply->get_header_value("X-Of-All"), "yes");
  EXPECT_EQ(reply->get_header_value("X-Of-One"), "1");
  reply = client_->Get("/none");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 404);
  EXPECT_EQ(reply->get_header_value("X-Of-All"), "yes");
  reply = client_->Post("/p", "", "text/plain");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "POST /p q=none h=");
  reply = client_->Head("/p");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "");
}

TEST_F(SiteServerTest, AHeaderThatIsThereTwiceIsNone) {
  const auto reply = client_->Get("/", {{"X-One", "1"}, {"X-One", "2"}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "GET / q=none h=");
}

TEST_F(SiteServerTest, WhatIsTooLongIsCutOff) {
  httplib::Headers fits, does_not;
  for (int i = 0; i < 2; ++i) fits.emplace("X-Long", std::string(7000, 'x'));
  for (int i = 0; i < 3; ++i) does_not.emplace("X-Long", std::string(7000, 'x'));
  const auto taken = client_->Get("/", fits);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->status, 200);
  const auto refused = client_->Get("/", does_not);
  EXPECT_TRUE(!refused || refused->status >= 400);
  const auto path = client_->Get("/" + std::string(8000, '('));  // longer than the library's own limit
  EXPECT_TRUE(!path || path->status == 200 || path->status >= 400);
  EXPECT_TRUE(client_->Get("/"));
}

TEST(SiteServer, AddressesThatCannotBeListenedOnAreSaid) {
  SiteOptions options = Echo();
  options.address = "nonsense";
  EXPECT_EQ(SiteServer::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = Echo();
  const auto first = SiteServer::Start(options);
  ASSERT_TRUE(first.ok());
  options.address = (*first)->address();
  const absl::Status taken = SiteServer::Start(options).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(std::string(taken.message()).rfind("--site", 0), 0u) << taken;
}

TEST(Tls, TextsThatCannotBeUsedAreSaid) {
  const auto says = [](const TlsTexts& texts, const std::string& part) {
    const absl::Status status = MakeTls("--site", texts).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  };
  says({}, "certificate");
  says({"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "", false}, "certificate");
}

}  // namespace
}  // namespace filigree::http
