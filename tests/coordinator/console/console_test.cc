#include "coordinator/console/console.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/certs/certs.h"
#include "tests/coordinator/rpc/rig.h"

// The console over HTTP and HTTPS, with a real coordinator behind it.

namespace filigree::coordinator {
namespace {

using nlohmann::json;

constexpr char kAdminToken[] = "admin-token-0123456789", kReaderToken[] = "reader-token-0123456789",
               kWorkerToken[] = "worker-token-0123456789";

// A coordinator on loopback without credentials, with its console.
class OnThisMachine : public testing::Test {
 protected:
  OnThisMachine() : history_(std::make_shared<History>()), rig_(Options(history_)) {
    ConsoleOptions options;
    options.address = "127.0.0.1:0";
    options.sample_every = std::chrono::milliseconds(10);
    auto started = Console::Start(options, *rig_.server, history_);
    EXPECT_TRUE(started.ok()) << started.status();
    console_ = *std::move(started);
    const std::string url = console_->url();
    client_ = std::make_unique<httplib::Client>(url.substr(0, url.size() - 1));
  }

  static ServerOptions Options(const std::shared_ptr<History>& history) {
    ServerOptions options = OnLoopback();
    options.hooks = HooksOf(history);
    return options;
  }

  // A job on one worker, running.
  std::string Running(FakeWorker& worker, int32_t data) {
    const auto made = Call(rig_.users, &v1::Coordinator::Stub::Submit, Job("night", data));
    EXPECT_TRUE(made.ok()) << made.status();
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(worker.Beat().ok());
    return made.ok() ? made->job() : "";
  }

  json Get(const std::string& path, int status = 200) {
    const auto reply = client_->Get(path);
    EXPECT_TRUE(reply) << path;
    if (!reply) return {};
    EXPECT_EQ(reply->status, status) << path << ": " << reply->body;
    return json::parse(reply->body);
  }
  int Post(const std::string& path, const httplib::Headers& headers) {
    const auto reply = client_->Post(path, headers, "", "text/plain");
    return reply ? reply->status : 0;
  }
  httplib::Headers OwnPage() const {
    const std::string url = console_->url();
    return {{"X-Filigree", "console"}, {"Origin", url.substr(0, url.size() - 1)}};
  }

  std::shared_ptr<History> history_;
  Rig rig_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(OnThisMachine, ThePageIsWholeAndTakesNothingFromElsewhere) {
  for (const auto& [path, type] :
       {std::pair("/", "text/html"), std::pair("/console.css", "text/css"), std::pair("/console.js", "text/javascript"),
        std::pair("/charts.js", "text/javascript"), std::pair("/text.js", "text/javascript")}) {
    const auto reply = client_->Get(path);
    ASSERT_TRUE(reply) << path;
    EXPECT_EQ(reply->status, 200) << path;
    EXPECT_EQ(reply->get_header_value("Content-Type").rfind(type, 0), 0u) << path;
    EXPECT_NE(reply->get_header_value("Content-Security-Policy").find("default-src 'none'"), std::string::npos);
    EXPECT_EQ(reply->get_header_value("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(reply->get_header_value("Cache-Control"), "no-store");
    EXPECT_FALSE(reply->has_header("Access-Control-Allow-Origin"));
    for (const char* elsewhere : {"http://", "https://", "innerHTML", "eval("}) {
      const size_t at = reply->body.find(elsewhere);
      const bool of_svg =
          at != std::string::npos && reply->body.compare(at, 20, "http://www.w3.org/20") == 0;  // a name
      EXPECT_TRUE(at == std::string::npos || of_svg) << path << " has " << elsewhere;
    }
  }
  for (const char* path : {"/none", "/console", "/api", "/../etc/passwd", "/api/state/x"}) Get(path, 404);
}

TEST_F(OnThisMachine, AJobIsShownWithItsFigures) {
  FakeWorker worker(rig_, "a", 2);
  const std::string job = Running(worker, 2);
  for (v1::RankReport* rank : worker.Ranks(job)) {
    rank->mutable_progress()->set_step(7);
    rank->mutable_progress()->set_sent_bytes(100);
    rank->mutable_progress()->set_dense_equivalent_bytes(5000);
  }
  v1::RunFigures& figures = *worker.Ranks(job)[0]->mutable_figures();
  figures.set_target_steps(50);
  figures.set_train_loss(2.123456789);
  figures.set_val_loss(std::numeric_limits<double>::infinity());
  figures.set_density(0.25);
  for (const double churn : {0.1, 0.3}) {
    v1::MatrixFigures& matrix = *figures.add_matrices();
    matrix.set_matrix("c_fc");
    matrix.set_churn(churn);
  }
  ASSERT_TRUE(worker.Beat().ok());
  const json state = Get("/api/state");
  ASSERT_EQ(state["jobs"].size(), 1u);
  const json& shown = state["jobs"][0];
  EXPECT_EQ(shown["id"], job);
  EXPECT_EQ(shown["state"], "running");
  EXPECT_EQ(shown["step"], 7);
  EXPECT_EQ(shown["target_steps"], 50);
  EXPECT_EQ(shown["train_loss"], 2.12346);
  EXPECT_TRUE(shown["val_loss"].is_null());  // infinity is no JSON
  EXPECT_EQ(shown["density"], 0.25);
  EXPECT_EQ(shown["churn"], 0.2);
  EXPECT_EQ(shown["sent_bytes"], 200);
  EXPECT_EQ(shown["dense_equivalent_bytes"], 10000);
  EXPECT_EQ(state["workers"][0]["used"], 2);
  EXPECT_EQ(state["workers"][0]["presence"], "live");
  EXPECT_EQ(state["may_end"], true);
  const json alone = Get("/api/job?id=" + job);
  EXPECT_EQ(alone["ranks"].size(), 2u);
  EXPECT_EQ(alone["ranks"][1]["state"], "running");
  EXPECT_EQ(alone["matrices"].size(), 2u);
  EXPECT_FALSE(alone.contains("series"));
  Get("/api/job?id=none-1", 404);
  Get("/api/job?id=a%2Fb", 400);
  Get("/api/job", 400);
}

// Sends what rank 0 or 1 of `job` printed at `offset`.
void Print(Rig& rig, const FakeWorker& worker, const std::string& job, int32_t rank, int64_t offset,
           const std::string& text, int64_t generation = 1) {
  v1::SendLogRequest request;
  *request.mutable_speaker() = worker.speaker();
  v1::LogPart& part = *request.add_parts();
  part.set_job(job);
  part.set_generation(generation);
  part.set_rank(rank);
  part.set_offset(offset);
  part.set_text(text);
  const auto sent = Call(rig.workers, &v1::Workers::Stub::SendLog, request);
  ASSERT_TRUE(sent.ok()) << sent.status();
}

TEST_F(OnThisMachine, LogsAreToldInWholeLines) {
  FakeWorker worker(rig_, "a", 2);
  const std::string job = Running(worker, 2);
  EXPECT_EQ(Get("/api/log?id=" + job)["lines"], json::array());
  Print(rig_, worker, job, 0, 0, "one\ntw");
  Print(rig_, worker, job, 1, 0, "other \xc3");
  Print(rig_, worker, job, 0, 6, "o\n\xff\n");
  Print(rig_, worker, job, 1, 7, "\xa4\n");
  Print(rig_, worker, job, 1, 20, "later");
  const json line0 = {{"generation", 1}, {"rank", 0}}, line1 = {{"generation", 1}, {"rank", 1}};
  const auto with = [](json line, const char* key, const json& value) {
    line[key] = value;
    return line;
  };
  const json all = Get("/api/log?id=" + job);
  EXPECT_EQ(all["lines"],
            json({with(line0, "text", "one"), with(line0, "text", "two"), with(line0, "text", "\xef\xbf\xbd"),
                  with(line1, "text", "other \xc3\xa4"), with(line1, "missing", 11), with(line1, "text", "later")}));
  const int64_t after = all["after"];
  EXPECT_TRUE(Get(fmt::format("/api/log?id={}&after={}", job, after))["lines"].is_null());
  Print(rig_, worker, job, 1, 25, "\n");
  EXPECT_TRUE(Get(fmt::format("/api/log?id={}&rank=0&after={}", job, after))["lines"].is_null());
  EXPECT_EQ(Get(fmt::format("/api/log?id={}&rank=1&after={}", job, after))["lines"].size(), 3u);
  EXPECT_EQ(Get(fmt::format("/api/log?id={}&after=999999", job))["lines"].size(), 6u);  // of another process
  EXPECT_EQ(Get("/api/log?id=" + job + "&rank=7")["lines"], json::array());
  Get("/api/log?id=none-1", 404);
  Get("/api/log", 400);
  for (const char* odd : {"rank=x", "rank=-1", "rank=", "rank=0x", "rank=4294967296", "after=x"})
    Get("/api/log?id=" + job + "&" + odd, 400);
}

TEST_F(OnThisMachine, ALongLogIsToldFromItsLastWholeLines) {
  FakeWorker worker(rig_, "a", 2);
  const std::string job = Running(worker, 2);
  int64_t offset = 0;
  for (int i = 0; i < 40; ++i) {
    const std::string text = fmt::format("{:04}{}\n", i, std::string(1019, 'x'));
    Print(rig_, worker, job, 0, offset, text);
    offset += static_cast<int64_t>(text.size());
  }
  const json both = Get("/api/log?id=" + job)["lines"];  // half of 64 KiB for each rank
  ASSERT_EQ(both.size(), 31u);  // what comes before the first is not known, so it may be half a line
  EXPECT_EQ(both[0]["text"].get<std::string>().substr(0, 4), "0009");
  EXPECT_EQ(Get("/api/log?id=" + job + "&rank=0")["lines"].size(), 40u);
  Print(rig_, worker, job, 0, offset, "end\n");
  const json cut = Get("/api/log?id=" + job)["lines"];
  EXPECT_EQ(cut[0]["text"].get<std::string>().substr(0, 4), "0009") << "half a line is none";
  EXPECT_EQ(cut.back()["text"], "end");
}

TEST_F(OnThisMachine, NoLogMakesMoreThanAThousandLines) {
  FakeWorker worker(rig_, "a", 2);
  const std::string job = Running(worker, 2);
  Print(rig_, worker, job, 0, 0, std::string(60'000, '\n'));
  Print(rig_, worker, job, 1, 0, "end\n");
  for (const char* rank : {"", "&rank=0"}) {
    const json lines = Get("/api/log?id=" + job + rank)["lines"];
    EXPECT_EQ(lines.size(), 1000u) << rank;
    EXPECT_EQ(lines[0]["text"], "");
    EXPECT_EQ(lines.back()["text"], *rank == '\0' ? "end" : "") << rank;
  }
}

TEST_F(OnThisMachine, LogsOfManyGenerationsAreTogetherNoLongerThanOne) {
  FakeWorker worker(rig_, "a", 1);
  const std::string job = Running(worker, 1);
  for (int64_t generation = 1;; ++generation) {
    for (int64_t line = 0; line < 50; ++line) {
      Print(rig_, worker, job, 0, line * 1000, fmt::format("{:02} {:02}{}\n", generation, line, std::string(994, 'x')),
            generation);
    }
    if (generation == 3) break;
    worker.Ranks(job).back()->set_state(v1::RANK_STATE_FAILED);
    ASSERT_TRUE(worker.Beat().ok());
    ASSERT_TRUE(
        Eventually([&] { return worker.Beat().ok() && Get("/api/job?id=" + job)["generation"] == generation + 1; }));
  }
  const json lines = Get("/api/log?id=" + job + "&rank=0")["lines"];
  ASSERT_EQ(lines.size(), 65u);  // of 999 bytes
  EXPECT_EQ(lines[0]["text"].get<std::string>().substr(0, 5), "02 35");
  EXPECT_EQ(lines.back()["text"].get<std::string>().substr(0, 5), "03 49");
}

TEST_F(OnThisMachine, CurvesGrowAndStayAfterTheEnd) {
  FakeWorker worker(rig_, "a", 1);
  const std::string job = Running(worker, 1);
  v1::RankReport& rank = *worker.Ranks(job)[0];
  rank.mutable_figures()->set_target_steps(3);
  for (int step = 1; step <= 3; ++step) {
    rank.mutable_progress()->set_step(step);
    rank.mutable_figures()->set_train_loss(4 - step);
    ASSERT_TRUE(worker.Beat().ok());
    EXPECT_TRUE(Eventually([&] { return history_->LastOf(job) && history_->LastOf(job)->step == step; }));
  }
  rank.set_state(v1::RANK_STATE_FINISHED);
  ASSERT_TRUE(worker.Beat().ok());
  const json alone = Get("/api/job?id=" + job + "&series=1");
  EXPECT_EQ(alone["state"], "done");
  EXPECT_EQ(alone["step"], 3);
  EXPECT_EQ(alone["train_loss"], 1);
  const json& series = alone["series"];
  EXPECT_EQ(series["step"].back(), 3);
  EXPECT_EQ(series["train_loss"].back(), 1);
  EXPECT_TRUE(series["val_loss"].back().is_null());
  EXPECT_EQ(series["phases"].size(), series["phase_names"].size());
  for (const json& column : {series["train_loss"], series["density"], series["phases"][0], series["wall_us"]})
    EXPECT_EQ(column.size(), series["step"].size());
  EXPECT_EQ(Get("/api/state?ended=1")["jobs"].size(), 1u);
  EXPECT_EQ(Get("/api/state")["jobs"].size(), 0u);
}

// What the ranks tell last comes with their end, and whoever looks once a second has not seen it.
TEST_F(OnThisMachine, AJobThatHasEndedShowsItsEnd) {
  const auto history = std::make_shared<History>();
  Rig rig(Options(history));
  ConsoleOptions options;
  options.address = "127.0.0.1:0";
  options.sample_every = std::chrono::hours(1);
  auto console = Console::Start(options, *rig.server, history);
  ASSERT_TRUE(console.ok()) << console.status();
  FakeWorker worker(rig, "a", 1);
  const auto made = Call(rig.users, &v1::Coordinator::Stub::Submit, Job("night", 1));
  ASSERT_TRUE(made.ok()) << made.status();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(worker.Beat().ok());
  v1::RankReport& rank = *worker.Ranks(made->job())[0];
  rank.mutable_progress()->set_step(50);
  rank.mutable_figures()->set_target_steps(50);
  rank.mutable_figures()->set_train_loss(1.5);
  rank.mutable_figures()->set_val_loss(1.75);
  rank.set_state(v1::RANK_STATE_FINISHED);
  ASSERT_TRUE(worker.Beat().ok());
  const std::optional<Sample> last = history->LastOf(made->job());
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->step, 50);
  EXPECT_EQ(last->train_loss, 1.5);
  EXPECT_EQ(last->val_loss, 1.75);
}

TEST_F(OnThisMachine, EventsAreToldOnce) {
  FakeWorker worker(rig_, "a", 1);
  const json first = Get("/api/state")["events"];
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0]["kind"], "worker_joined");
  EXPECT_EQ(first[0]["worker"], "a");
  const std::string after = "/api/state?after=" + std::to_string(first[0]["number"].get<int64_t>());
  EXPECT_EQ(Get(after)["events"].size(), 0u);
  Running(worker, 1);
  const json news = Get(after)["events"];
  EXPECT_GE(news.size(), 3u);
  EXPECT_EQ(news.back()["to"], "running");
  Get("/api/state?after=9223372036854775807");
  for (const char* odd : {"-5", "x", "1x", "", "%201", "99999999999999999999"}) {
    const json refused = Get(std::string("/api/state?after=") + odd, 400);
    EXPECT_NE(refused["error"].get<std::string>().find("after: "), std::string::npos) << odd;
  }
}

TEST_F(OnThisMachine, AnotherHostsNameIsRefused) {
  const auto asked_as = [&](const std::string& host) {
    const auto reply = client_->Get("/api/state", {{"Host", host}});
    return reply ? reply->status : 0;
  };
  for (const char* host : {"localhost:7072", "127.0.0.1", "[::1]:80", "127.0.0.1:99"})
    EXPECT_EQ(asked_as(host), 200) << host;
  for (const char* host : {"evil.example", "evil.example:7072", "127.0.0.1.evil.example", "localhost.evil.example",
                           "10.0.0.1", "[", "[fd00::1]:80", ":80"})
    EXPECT_EQ(asked_as(host), 403) << host;
}

TEST_F(OnThisMachine, OnlyItsOwnPageEndsAJob) {
  FakeWorker worker(rig_, "a", 2);
  const std::string job = Running(worker, 1);
  const std::string path = "/api/cancel?job=" + job;
  const httplib::Headers own = OwnPage();
  EXPECT_EQ(Post(path, {}), 403);
  EXPECT_EQ(Post(path, {{"X-Filigree", "console"}}), 403);
  EXPECT_EQ(Post(path, {{"X-Filigree", "console"}, {"Origin", "http://evil.example"}}), 403);
  EXPECT_EQ(Post(path, {{"X-Filigree", "console"}, {"Origin", "null"}}), 403);
  EXPECT_EQ(Post(path, {{"Origin", own.find("Origin")->second}}), 403);
  Get(path, 405);
  EXPECT_EQ(Get("/api/job?id=" + job)["state"], "running");
  EXPECT_EQ(Post("/api/drain?job=" + job, own), 200);
  EXPECT_EQ(Get("/api/job?id=" + job)["state"], "draining");
  EXPECT_EQ(Post(path, own), 200);
  EXPECT_EQ(Post("/api/drain?worker=a", own), 200);
  EXPECT_EQ(Get("/api/state")["workers"][0]["presence"], "draining");
  EXPECT_EQ(Post("/api/drain?worker=none", own), 404);
  EXPECT_EQ(Post("/api/cancel?job=none-1", own), 404);
  EXPECT_EQ(Post("/api/cancel?worker=a", own), 400);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(worker.Beat().ok());
  EXPECT_EQ(Get("/api/job?id=" + job)["state"], "cancelled");
}

TEST_F(OnThisMachine, WhatIsTooLongOrTooStrangeIsRefused) {
  httplib::Headers headers;
  headers.emplace("X-Long", std::string(20'000, 'x'));
  const auto reply = client_->Get("/api/state", headers);
  EXPECT_TRUE(!reply || reply->status >= 400);
  const auto put = client_->Put("/api/state", "", "text/plain");
  EXPECT_TRUE(!put || put->status >= 400);
  Get("/api/state");  // and goes on
}

TEST_F(OnThisMachine, ItSaysThatTheCoordinatorStops) {
  rig_.server->Stop();
  EXPECT_NE(Get("/api/state", 503)["error"].get<std::string>().find("stopping"), std::string::npos);
  EXPECT_EQ(Post("/api/cancel?job=x-1", OwnPage()), 503);
}

void Write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
}

// The same with TLS: certificates, tokens, or both.
class OverTls : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);  // a client that is shut out writes into a closed connection
    std::string pattern = testing::TempDir() + "console_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    ASSERT_TRUE(certs::MakeAuthority(folder_, {}).ok());
    ASSERT_TRUE(certs::Issue(folder_, {"server", {"127.0.0.1", "localhost"}, ""}, {}).ok());
    for (const auto& [name, role] :
         {std::pair("alice", "admin"), std::pair("grafana", "reader"), std::pair("pool", "worker")})
      ASSERT_TRUE(certs::Issue(folder_, {name, {}, role}, {}).ok());
    Write(Path("tokens"),
          std::string("admin ") + kAdminToken + "\nreader " + kReaderToken + "\nworker " + kWorkerToken + "\n");
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  void Serve(bool certificates, bool tokens) {
    ServerOptions options = OnLoopback();
    options.security.certificate = Path("server.pem");
    options.security.key = Path("server.key");
    if (certificates) options.security.client_ca = Path("ca.pem");
    if (tokens) options.security.token_file = Path("tokens");
    ConsoleOptions console;
    console.address = "127.0.0.1:0";
    console.security = options.security;
    auto server = Server::Start(options, journal_.tables(), journal_.keep());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto started = Console::Start(console, *server_, std::make_shared<History>());
    ASSERT_TRUE(started.ok()) << started.status();
    console_ = *std::move(started);
    ASSERT_EQ(console_->url().rfind("https://", 0), 0u);
  }

  // The status of a request; 0: none came. `name`: of the certificate that is shown; empty: none.
  int Ask(const std::string& method, const std::string& path, const std::string& name,
          const httplib::Headers& headers = {}) {
    const std::string url = console_->url();
    const int port = std::stoi(url.substr(url.rfind(':') + 1));
    httplib::SSLClient client("127.0.0.1", port, name.empty() ? "" : Path(name + ".pem"),
                              name.empty() ? "" : Path(name + ".key"));
    client.set_ca_cert_path(Path("ca.pem").c_str());
    httplib::Headers all = headers;
    all.emplace("X-Filigree", "console");
    all.emplace("Origin", url.substr(0, url.size() - 1));
    const auto reply = method == "GET" ? client.Get(path, all) : client.Post(path, all, "", "text/plain");
    return reply ? reply->status : 0;
  }
  int Ask(const std::string& method, const std::string& path) { return Ask(method, path, ""); }
  int WithToken(const std::string& method, const std::string& path, const std::string& token) {
    return Ask(method, path, "", {{"Authorization", "Bearer " + token}});
  }

  std::string folder_;
  MemoryJournal journal_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Console> console_;
};

constexpr char kState[] = "/api/state", kCancel[] = "/api/cancel?job=none-1";

TEST_F(OverTls, TokensHaveRoles) {
  Serve(false, true);
  EXPECT_EQ(Ask("GET", "/"), 200);  // the page asks for the token
  EXPECT_EQ(Ask("GET", kState), 401);
  EXPECT_EQ(Ask("GET", "/api/job?id=x"), 401);
  EXPECT_EQ(Ask("POST", kCancel), 401);
  EXPECT_EQ(WithToken("GET", kState, "wrong-token-0123456789"), 401);
  EXPECT_EQ(WithToken("GET", kState, ""), 401);
  EXPECT_EQ(Ask("GET", kState, "", {{"Authorization", std::string("Basic ") + kAdminToken}}), 401);
  EXPECT_EQ(Ask("GET", kState, "", {{"Authorization", std::string("Bearer ") + kReaderToken}, {"Authorization", "x"}}),
            401);
  EXPECT_EQ(Ask("GET", std::string(kState) + "?token=" + kReaderToken), 401);  // never in an address
  EXPECT_EQ(WithToken("GET", kState, kReaderToken), 200);
  EXPECT_EQ(WithToken("POST", kCancel, kReaderToken), 403);
  EXPECT_EQ(WithToken("GET", kState, kWorkerToken), 403);
  EXPECT_EQ(WithToken("GET", kState, kAdminToken), 200);
  EXPECT_EQ(WithToken("POST", kCancel, kAdminToken), 404);  // it may, but there is no such job
}

TEST_F(OverTls, CertificatesHaveRoles) {
  Serve(true, false);
  EXPECT_EQ(Ask("GET", "/", ""), 0);  // not even the page
  EXPECT_EQ(Ask("GET", "/", "grafana"), 200);
  EXPECT_EQ(Ask("GET", kState, "grafana"), 200);
  EXPECT_EQ(Ask("POST", kCancel, "grafana"), 403);
  EXPECT_EQ(Ask("GET", kState, "pool"), 403);
  EXPECT_EQ(Ask("POST", kCancel, "alice"), 404);
  EXPECT_EQ(Ask("GET", kState, "server"), 0);  // no client's certificate
}

TEST_F(OverTls, EitherWillDo) {
  Serve(true, true);
  EXPECT_EQ(Ask("GET", kState, ""), 401);
  EXPECT_EQ(Ask("GET", kState, "grafana"), 200);
  EXPECT_EQ(WithToken("GET", kState, kReaderToken), 200);
  // Of another CA, with the same role.
  const std::string other = folder_ + "/other";
  ASSERT_TRUE(certs::MakeAuthority(other, {}).ok());
  ASSERT_TRUE(certs::Issue(other, {"mallory", {}, "admin"}, {}).ok());
  EXPECT_EQ(Ask("GET", kState, "other/mallory"), 0);
  EXPECT_EQ(Ask("GET", kState, "grafana"), 200);
}

TEST_F(OverTls, PlainTextIsNotAnswered) {
  Serve(false, true);
  const std::string url = console_->url();
  httplib::Client plain("127.0.0.1", std::stoi(url.substr(url.rfind(':') + 1)));
  EXPECT_FALSE(plain.Get("/"));
}

// Whoever says nothing, or half a handshake, holds one of sixteen threads for a while and no longer.
TEST_F(OverTls, WhoDoesNotFinishAHandshakeIsCutOffAndHoldsUpNobody) {
  Serve(false, true);
  const std::string url = console_->url();
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
  std::vector<int> sockets;
  for (int i = 0; i < 8; ++i) {
    sockets.push_back(::socket(AF_INET, SOCK_STREAM, 0));
    ASSERT_EQ(::connect(sockets.back(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const size_t said = i % 2 == 0 ? 3 : 0;
    ASSERT_EQ(::send(sockets.back(), "\x16\x03\x01", said, MSG_NOSIGNAL), static_cast<ssize_t>(said));
  }
  EXPECT_EQ(WithToken("GET", kState, kReaderToken), 200);
  for (const int socket : sockets) {
    pollfd ended = {socket, POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 60'000), 1) << "still open";
    char byte = 0;
    EXPECT_LE(::recv(socket, &byte, 1, 0), 0);
    ::close(socket);
  }
}

TEST(Console, WithoutCredentialsItStaysOnThisMachine) {
  Rig rig;
  const auto start = [&](const std::string& address) {
    ConsoleOptions options;
    options.address = address;
    return Console::Start(options, *rig.server, std::make_shared<History>()).status();
  };
  for (const char* address : {"0.0.0.0:0", "[::]:0", "10.0.0.1:80", "example.org:80"})
    EXPECT_TRUE(Says(start(address), absl::StatusCode::kInvalidArgument, "--tls-cert")) << address;
  EXPECT_TRUE(Says(start("nonsense"), absl::StatusCode::kInvalidArgument, "--console-listen"));
  EXPECT_TRUE(Says(start(rig.server->address()), absl::StatusCode::kUnavailable, "--console-listen"));
}

}  // namespace
}  // namespace filigree::coordinator
