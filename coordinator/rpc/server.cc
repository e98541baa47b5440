#include "coordinator/rpc/server.h"

#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "coordinator/rpc/services.h"

namespace filigree::coordinator {

// In the order in which they need each other; destroyed the other way round.
struct Server::Parts {
  explicit Parts(const ServerOptions& given) : options(given) {}

  const ServerOptions options;
  Listening listening;
  std::optional<Desk> desk;
  std::optional<Strand> strand;
  std::optional<Front> front;
  std::optional<CoordinatorService> coordinator;
  std::optional<WorkersService> workers;
  std::unique_ptr<grpc::Server> server;
  std::atomic<grpc::HealthCheckServiceInterface*> health = nullptr;  // the server's
  std::string address;
  bool stopped = false;
};

namespace {

void LimitConnections(const Limits& limits, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(limits.receive_bytes);
  builder.SetMaxSendMessageSize(rpc::kMaxMessageBytes);
  grpc::ResourceQuota quota("coordinator");
  quota.Resize(limits.memory_bytes);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second coordinator must fail, not share the port
  // Peers that vanished without a word are found; those that ping too often are closed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             static_cast<int>(std::chrono::milliseconds(limits.idle_connection).count()));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
}

// Protobuf complains on stderr of every text that is no UTF-8: whoever reaches the port could fill a log with that.
void QuietProtobuf() { google::protobuf::SetLogHandler(nullptr); }

absl::Status Stopping() {
  return absl::UnavailableError("the coordinator is stopping; try again when it has been started anew");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Tables tables, Keep keep) {
  QuietProtobuf();
  auto parts = std::make_unique<Parts>(options);
  auto listening = Secure(options.address, options.security);
  if (!listening.ok()) return listening.status();
  parts->listening = *std::move(listening);

  Parts& p = *parts;
  Hooks hooks = options.hooks;
  hooks.on_kept = [&p, said = options.hooks.on_kept](const absl::Status& status) {
    if (auto* health = p.health.load(); health != nullptr) health->SetServingStatus(status.ok());
    if (said) said(status);
  };
  p.desk.emplace(options.core, std::move(tables), std::move(keep), std::move(hooks), p.options.limits);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  LimitConnections(options.limits, builder);
  int port = 0;
  builder.AddListeningPort(options.address, p.listening.credentials, &port);
  if (absl::Status status = p.desk->Open(); !status.ok()) return status;
  p.strand.emplace(Strand::Capacity{options.limits.waiting_calls, options.limits.waiting_bytes}, options.tick,
                   [&p] { p.desk->Tick(); });
  p.front.emplace(Front{p.options.limits, p.listening.trust, p.listening.tokens ? &*p.listening.tokens : nullptr,
                        *p.desk, *p.strand});
  p.coordinator.emplace(*p.front);
  p.workers.emplace(*p.front);
  builder.RegisterService(&*p.coordinator);
  builder.RegisterService(&*p.workers);
  p.server = builder.BuildAndStart();
  if (p.server == nullptr || port == 0) {
    p.strand->Stop();
    return absl::UnavailableError(fmt::format(
        "cannot listen on {}: the port is taken, or the address is none of this machine's", options.address));
  }
  p.health = p.server->GetHealthCheckService();
  p.address = fmt::format("{}:{}", options.address.substr(0, options.address.rfind(':')), port);
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Server::~Server() { Stop(); }

const std::string& Server::address() const { return parts_->address; }

int64_t Server::watchers_dropped() const { return parts_->desk->watchers().dropped(); }

namespace {

// Whether it was run, which is waited for.
bool RunOn(Strand& strand, const std::function<void()>& work) {
  std::promise<void> done;
  const absl::Status posted = strand.Post([&] {
    work();
    done.set_value();
  });
  if (posted.ok()) done.get_future().wait();
  return posted.ok();
}

}  // namespace

bool Server::Look(const std::function<void(const Core& core, Now now)>& look) {
  return RunOn(*parts_->strand, [&] { look(parts_->desk->core(), Desk::Time()); });
}

bool Server::LookAtLogs(const std::function<void(const Core& core, const LogStore& logs)>& look) {
  return RunOn(*parts_->strand, [&] { look(parts_->desk->core(), parts_->desk->logs()); });
}

absl::Status Server::End(const EndRequest& request) {
  std::promise<absl::Status> done;
  Desk& desk = *parts_->desk;
  const auto decide = [&](const auto& asked) {
    using Asked = std::decay_t<decltype(asked)>;
    if constexpr (std::is_same_v<Asked, CancelRequest>)
      return desk.Settle(desk.core().Cancel(Desk::Time(), asked)).status();
    else if constexpr (std::is_same_v<Asked, DrainJobRequest>)
      return desk.Settle(desk.core().DrainJob(Desk::Time(), asked)).status();
    else
      return desk.Settle(desk.core().DrainWorker(Desk::Time(), asked)).status();
  };
  const absl::Status posted = parts_->strand->Post([&] { done.set_value(std::visit(decide, request)); });
  return posted.ok() ? done.get_future().get() : posted;
}

void Server::Stop() {
  Parts& p = *parts_;
  if (p.stopped) return;
  p.stopped = true;
  p.health.load()->SetServingStatus(false);
  // Whoever waits on the strand for something is answered; then calls that came meanwhile; then gRPC ends what is left.
  p.strand->Post([&p] { p.desk->Close(Stopping()); }).IgnoreError();
  p.strand->Stop();
  p.desk->Close(Stopping());
  p.server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  p.server->Wait();
}

}  // namespace filigree::coordinator
