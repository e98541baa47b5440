#include "coordinator/console/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "coordinator/console/access.h"
#include "coordinator/console/answers.h"
#include "coordinator/console/assets.h"
#include "coordinator/rpc/views.h"
#include "proto/contract/address.h"
#include "proto/contract/ids.h"
#include "proto/contract/job_spec.h"
#include "proto/http/site_server.h"
#include "proto/rpc/channel.h"

namespace filigree::coordinator {
namespace {

constexpr char kJsonType[] = "application/json";

// Nothing from elsewhere, nothing written into the page, nobody's frame.
std::map<std::string, std::string> HeadersOfAll() {
  return {{"Content-Security-Policy",
           "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri "
           "'none'; form-action 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cache-Control", "no-store"}};
}

int CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kUnimplemented:
      return 405;
    case absl::StatusCode::kFailedPrecondition:
      return 409;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return 503;
    default:
      return 500;
  }
}

http::SiteReply ReplyOf(const absl::StatusOr<Json>& answer) {
  http::SiteReply reply;
  reply.type = kJsonType;
  if (answer.ok()) {
    reply.body = TextOf(*answer);
    return reply;
  }
  reply.status = CodeOf(answer.status());
  reply.body = TextOf({{"error", std::string(answer.status().message())}});
  if (reply.status == 401) reply.headers["WWW-Authenticate"] = "Bearer";
  return reply;
}

absl::StatusOr<std::string> NameIn(const http::SiteRequest& request, const char* key) {
  const auto found = request.query.find(key);
  const std::string name = found == request.query.end() ? "" : found->second;
  if (absl::Status status = contract::CheckId(key, name); !status.ok()) return status;
  return name;
}

bool IsSet(const http::SiteRequest& request, const char* key) {
  const auto found = request.query.find(key);
  return found != request.query.end() && found->second == "1";
}

// A whole number of at least 0; 0 where the key is not there.
absl::StatusOr<int64_t> NumberIn(const http::SiteRequest& request, const char* key, int64_t most) {
  const auto found = request.query.find(key);
  if (found == request.query.end()) return 0;
  const std::string& text = found->second;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number >= 0 && number <= most) return number;
  return absl::InvalidArgumentError(
      fmt::format("{}: {} is no whole number from 0 to {}", key, contract::Shown(text), most));
}

absl::Status Busy() {
  return absl::UnavailableError("the coordinator is stopping or has more to do than it can take; ask again");
}

absl::StatusOr<std::shared_ptr<ssl_ctx_st>> TlsOfSite(const ConsoleOptions& options) {
  const Security& files = options.security;
  http::TlsTexts texts;
  texts.client_required = files.token_file.empty();
  for (const auto& [path, text, secret] :
       {std::tuple(&files.certificate, &texts.certificate, false), std::tuple(&files.key, &texts.key, true),
        std::tuple(&files.client_ca, &texts.client_ca, false)}) {
    if (path->empty()) continue;
    auto read = rpc::ReadCredentialFile(*path, secret);
    if (!read.ok()) return read.status();
    *text = *std::move(read);
  }
  return http::MakeTls(options.what, texts);
}

bool Ends(const Caller& caller) { return CheckRole(caller, Method::kCancel).ok(); }

}  // namespace

struct Console::Parts {
  Parts(Server& of, std::shared_ptr<History> kept) : server(of), history(std::move(kept)) {}

  http::SiteReply Answer(const http::SiteRequest& request) const;
  std::optional<http::SiteReply> File(const http::SiteRequest& request) const;
  absl::StatusOr<Json> Api(const http::SiteRequest& request) const;
  absl::StatusOr<Json> State(const http::SiteRequest& request, const Caller& caller) const;
  absl::StatusOr<Json> Job(const http::SiteRequest& request) const;
  absl::StatusOr<Json> Log(const http::SiteRequest& request) const;
  absl::StatusOr<Json> End(const http::SiteRequest& request) const;
  void Sample(std::chrono::milliseconds every);

  Server& server;
  const std::shared_ptr<History> history;
  Trust trust = Trust::kLoopback;
  std::optional<Tokens> tokens;
  std::unique_ptr<http::SiteServer> site;

  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;  // guarded by mutex
  std::thread sampler;
};

http::SiteReply Console::Parts::Answer(const http::SiteRequest& request) const {
  if (absl::Status status = CheckHost(request, trust); !status.ok()) return ReplyOf(status);
  if (auto file = File(request); file) return *std::move(file);
  return ReplyOf(Api(request));
}

// The page itself says nothing about anybody, so that it can ask for a token.
std::optional<http::SiteReply> Console::Parts::File(const http::SiteRequest& request) const {
  if (request.method != "GET" && request.method != "HEAD") return std::nullopt;
  for (const Asset& asset : kAssets)
    if (request.path == asset.path) return http::SiteReply{200, asset.type, asset.text, {}};
  return std::nullopt;
}

absl::StatusOr<Json> Console::Parts::Api(const http::SiteRequest& request) const {
  const bool reads = request.path == "/api/state" || request.path == "/api/job" || request.path == "/api/log";
  const bool ends = request.path == "/api/cancel" || request.path == "/api/drain";
  if (!reads && !ends) return absl::NotFoundError("there is no such page");
  const auto caller = Admit(request, trust, tokens ? &*tokens : nullptr, reads ? Method::kList : Method::kCancel);
  if (!caller.ok()) return caller.status();
  if (request.method != (reads ? "GET" : "POST"))
    return absl::UnimplementedError(fmt::format("{} is asked for with {}", request.path, reads ? "GET" : "POST"));
  if (ends) return End(request);
  if (request.path == "/api/log") return Log(request);
  return request.path == "/api/state" ? State(request, *caller) : Job(request);
}

absl::StatusOr<Json> Console::Parts::State(const http::SiteRequest& request, const Caller& caller) const {
  const auto after = NumberIn(request, "after", std::numeric_limits<int64_t>::max());
  if (!after.ok()) return after.status();
  Json json;
  if (!server.Look([&](const Core& core, Now now) { json = StateJson(core, now, *history, IsSet(request, "ended")); }))
    return Busy();
  json["events"] = EventsJson(*history, *after);
  json["may_end"] = Ends(caller);
  return json;
}

absl::StatusOr<Json> Console::Parts::Job(const http::SiteRequest& request) const {
  const auto name = NameIn(request, "id");
  if (!name.ok()) return name.status();
  absl::StatusOr<Json> json = Json();
  if (!server.Look([&](const Core& core, Now now) { json = JobJson(core, now, *history, *name); })) return Busy();
  if (json.ok() && IsSet(request, "series")) (*json)["series"] = SeriesJson(*history, *name);
  return json;
}

absl::StatusOr<Json> Console::Parts::Log(const http::SiteRequest& request) const {
  const auto name = NameIn(request, "id");
  if (!name.ok()) return name.status();
  ReadLogQuery query;
  query.job = *name;
  const auto rank = NumberIn(request, "rank", contract::kMaxRanks - 1);
  if (!rank.ok()) return rank.status();
  if (request.query.count("rank") > 0) query.rank = static_cast<int32_t>(*rank);
  const auto after = NumberIn(request, "after", std::numeric_limits<int64_t>::max());
  if (!after.ok()) return after.status();
  absl::StatusOr<LogTail> tail = LogTail();
  if (!server.LookAtLogs([&](const Core& core, const LogStore& logs) { tail = TailOf(core, logs, query, *after); }))
    return Busy();
  if (!tail.ok()) return tail.status();
  return LogJson(*tail);
}

absl::StatusOr<Json> Console::Parts::End(const http::SiteRequest& request) const {
  if (absl::Status status = CheckOwnPage(request); !status.ok()) return status;
  const bool worker = request.path == "/api/drain" && request.query.count("worker") > 0;
  const auto name = NameIn(request, worker ? "worker" : "job");
  if (!name.ok()) return name.status();
  const EndRequest asked = request.path == "/api/cancel" ? EndRequest(CancelRequest{*name})
                           : worker                      ? EndRequest(DrainWorkerRequest{*name})
                                                         : EndRequest(DrainJobRequest{*name});
  if (absl::Status status = server.End(asked); !status.ok()) return status;
  return Json::object();
}

void Console::Parts::Sample(std::chrono::milliseconds every) {
  for (;;) {
    {
      std::unique_lock lock(mutex);
      if (wake.wait_for(lock, every, [this] { return stopping; })) return;
    }
    server.Look([this](const Core& core, Now now) {
      for (const std::string& id : core.tables().open_jobs())
        if (const JobRow* row = core.tables().FindJob(id); row->held) history->Add(id, SampleOf(core, *row, now));
    });
  }
}

Hooks HooksOf(std::shared_ptr<History> history) {
  Hooks hooks;
  hooks.on_event = [history](const Event& event) { history->Add(event); };
  hooks.on_released = [history](const Core& core, const JobRow& row, Now now) {
    // A coordinator that was started anew may not have heard of them: there is nothing to add.
    if (GenerationMemory(core, row) != nullptr) history->Add(row.id, SampleOf(core, row, now));
  };
  return hooks;
}

absl::Status Console::Check(const ConsoleOptions& options) {
  if (const auto address = contract::ParseAddress(options.what, options.address); !address.ok())
    return address.status();
  const auto secured = Secure(options.address, options.security);
  if (!secured.ok() || secured->trust != Trust::kCredentials) return secured.status();
  return TlsOfSite(options).status();
}

absl::StatusOr<std::unique_ptr<Console>> Console::Start(const ConsoleOptions& options, Server& server,
                                                        std::shared_ptr<History> history) {
  if (const auto address = contract::ParseAddress(options.what, options.address); !address.ok())
    return address.status();
  auto secured = Secure(options.address, options.security);
  if (!secured.ok()) return secured.status();
  auto parts = std::make_unique<Parts>(server, std::move(history));
  parts->trust = secured->trust;
  parts->tokens = std::move(secured->tokens);
  http::SiteOptions site;
  site.what = options.what;
  site.address = options.address;
  site.headers = HeadersOfAll();
  site.answer = [&console = *parts](const http::SiteRequest& request) { return console.Answer(request); };
  if (parts->trust == Trust::kCredentials) {
    auto tls = TlsOfSite(options);
    if (!tls.ok()) return tls.status();
    site.tls = *std::move(tls);
  }
  auto started = http::SiteServer::Start(std::move(site));
  if (!started.ok()) return started.status();
  parts->site = *std::move(started);
  parts->sampler = std::thread([&console = *parts, every = options.sample_every] { console.Sample(every); });
  return std::unique_ptr<Console>(new Console(std::move(parts)));
}

Console::Console(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Console::~Console() {
  parts_->site.reset();
  {
    const std::lock_guard lock(parts_->mutex);
    parts_->stopping = true;
  }
  parts_->wake.notify_all();
  parts_->sampler.join();
}

std::string Console::url() const {
  return fmt::format("{}://{}/", parts_->trust == Trust::kCredentials ? "https" : "http", parts_->site->address());
}

}  // namespace filigree::coordinator
