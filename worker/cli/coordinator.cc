#include <pthread.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include "coordinator/console/console.h"
#include "coordinator/journal/journal.h"
#include "coordinator/metrics/pages.h"
#include "coordinator/rpc/server.h"
#include "worker/cli/command.h"
#include "worker/cli/connect.h"
#include "worker/cli/coordinator_settings.h"
#include "worker/cli/metrics.h"
#include "worker/cli/print.h"
#include "worker/cli/revision.h"
#include "worker/telemetry/display.h"

// filigree coordinator: serves until it is told to stop.

namespace filigree::cli {
namespace {

struct CoordinatorOptions {
  std::string config;
  CoordinatorSettings settings;
  bool quiet = false;
};

// SIGINT and SIGTERM are waited for and not caught; to be called while there is one thread.
sigset_t HoldStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

void PrintNow(const std::string& line) {
  Print("{}\n", line);
  std::fflush(stdout);
}

std::string EventText(const coordinator::Event& event) {
  const std::string time = telemetry::TimeText(static_cast<double>(event.wall_us) / 1e6);
  const std::string who = event.job.empty() ? event.worker : event.job;
  const bool moved = event.kind == coordinator::EventKind::kJobMoved;
  return fmt::format("{}  {}  {}: {}", time, who, moved ? Name(event.to) : Name(event.kind),
                     telemetry::Printable(event.text));
}

std::string StandsText(const coordinator::Journal& journal) {
  const coordinator::Tables& tables = journal.tables();
  return fmt::format("journal {}: {} jobs, {} of them open, {} workers", journal.path(), tables.jobs().size(),
                     tables.open_jobs().size(), tables.workers().size());
}

std::string SecuredText(const coordinator::Security& security) {
  if (security.certificate.empty()) return "plain text, for this machine only";
  if (security.token_file.empty()) return "TLS, clients by certificate";
  return security.client_ca.empty() ? "TLS, clients by token" : "TLS, clients by certificate or token";
}

http::PageServerOptions PagesAt(const CoordinatorSettings& settings) {
  http::PageServerOptions options;
  options.what = "--metrics-listen";
  options.address = settings.metrics_listen;
  options.open = settings.metrics_open;
  options.how_to_open = "give --metrics-open";
  return options;
}

coordinator::ConsoleOptions ConsoleAt(const CoordinatorSettings& settings) {
  coordinator::ConsoleOptions options;
  options.address = settings.console_listen;
  options.security = settings.security;
  return options;
}

// Where the pages for Prometheus are; null: nobody asked for them.
absl::StatusOr<std::unique_ptr<http::PageServer>> ShowPages(const CoordinatorSettings& settings,
                                                            coordinator::Server& server) {
  if (settings.metrics_listen.empty()) return nullptr;
  http::PageServerOptions options = PagesAt(settings);
  options.pages = coordinator::Pages(BuildOfThisProgram(), [&server](const auto& look) { return server.Look(look); });
  return http::PageServer::Start(std::move(options));
}

// The console; null: nobody asked for it.
absl::StatusOr<std::unique_ptr<coordinator::Console>> ShowConsole(const CoordinatorSettings& settings,
                                                                  coordinator::Server& server,
                                                                  std::shared_ptr<coordinator::History> history) {
  if (settings.console_listen.empty()) return nullptr;
  return coordinator::Console::Start(ConsoleAt(settings), server, std::move(history));
}

// All that can be wrong with what was asked for, before there is a journal: whoever mistypes an address leaves no file
// behind, and takes no lock that the coordinator which runs needs.
absl::Status Check(const CoordinatorSettings& settings) {
  if (!(settings.lease >= 1 && settings.lease <= 3600))  // nor a NaN
    return absl::InvalidArgumentError(fmt::format("lease: {} s is outside 1..3600", settings.lease));
  if (settings.keep_ended < 1 || settings.keep_ended > 1'000'000)
    return absl::InvalidArgumentError(fmt::format("keep-ended: {} jobs is outside 1..1000000", settings.keep_ended));
  if (settings.metrics_open && settings.metrics_listen.empty())
    return absl::InvalidArgumentError(
        "--metrics-open: no metrics are shown that others could reach; give their address too, --metrics-listen "
        "HOST:PORT");
  if (auto secured = coordinator::Secure(settings.listen, settings.security); !secured.ok()) return secured.status();
  if (!settings.metrics_listen.empty())
    if (absl::Status status = http::PageServer::Check(PagesAt(settings)); !status.ok()) return status;
  if (settings.console_listen.empty()) return absl::OkStatus();
  return coordinator::Console::Check(ConsoleAt(settings));
}

int RunCoordinator(const CoordinatorOptions& options) {
  const sigset_t signals = HoldStopSignals();
  QuietGrpc();  // starts threads, which inherit what is held
  const CoordinatorSettings& settings = options.settings;
  if (absl::Status status = Check(settings); !status.ok()) return Finish(status);
  auto journal = coordinator::Journal::Open(settings.journal);
  if (!journal.ok()) return Finish(journal.status());
  PrintNow(StandsText(**journal));

  coordinator::ServerOptions server_options;
  server_options.address = settings.listen;
  server_options.security = settings.security;
  server_options.core.lease_us = static_cast<int64_t>(settings.lease * 1e6);
  server_options.core.lease_margin_us = server_options.core.lease_us / 10;
  server_options.core.heartbeat_us = server_options.core.lease_us / 4;
  server_options.core.max_ended = static_cast<size_t>(settings.keep_ended);
  const auto history = std::make_shared<coordinator::History>();
  server_options.hooks = coordinator::HooksOf(history);
  server_options.hooks.on_event = [keep = server_options.hooks.on_event,
                                   quiet = options.quiet](const coordinator::Event& event) {
    keep(event);
    if (!quiet) PrintNow(EventText(event));
  };
  server_options.hooks.on_kept = [](const absl::Status& status) {
    Say("{}", status.ok() ? "the journal can be written again"
                          : "the journal cannot be written; requests are refused until it can: " +
                                std::string(status.message()));
  };
  coordinator::Journal& kept = **journal;
  auto server = coordinator::Server::Start(server_options, kept.tables(),
                                           [&kept](const coordinator::Changes& rows) { return kept.Write(rows); });
  if (!server.ok()) return Finish(server.status());
  PrintNow(fmt::format("filigree coordinator {} listens on {}: {}", FILIGREE_VERSION, (*server)->address(),
                       SecuredText(settings.security)));
  auto pages = ShowPages(settings, **server);
  if (!pages.ok()) return Finish(pages.status());
  if (*pages != nullptr) PrintNow(fmt::format("metrics are on http://{}/metrics", (*pages)->address()));
  auto console = ShowConsole(settings, **server, history);
  if (!console.ok()) return Finish(console.status());
  if (*console != nullptr) PrintNow("the console is at " + (*console)->url());
  int signal = 0;
  sigwait(&signals, &signal);
  PrintNow("stopping; workers and jobs go on and are taken up again at the next start");
  console->reset();
  pages->reset();
  (*server)->Stop();
  return kExitDone;
}

// A flag that was given, over what the file says.
void Override(const CLI::Option* flag, const std::string& given, std::string& setting) {
  if (flag->count() > 0) setting = given;
}

}  // namespace

void AddCoordinatorCommand(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("coordinator", "Place jobs on workers, watch over them, keep their checkpoints");
  auto options = std::make_shared<CoordinatorOptions>();
  auto given = std::make_shared<CoordinatorSettings>();
  command->add_option("--config", options->config, "TOML file with a section [coordinator]; flags win over it");
  auto* listen = command->add_option("--listen", given->listen, "HOST:PORT; others than this machine need TLS")
                     ->capture_default_str();
  auto* journal =
      command->add_option("--journal", given->journal, "SQLite file of all that must last")->capture_default_str();
  auto* certificate = command->add_option("--tls-cert", given->security.certificate, "Our certificate (PEM)");
  auto* key = command->add_option("--tls-key", given->security.key, "Its key (PEM, mode 0600)");
  auto* client_ca = command->add_option("--tls-client-ca", given->security.client_ca,
                                        "Clients show certificates that this CA signed (PEM)");
  auto* tokens = command->add_option("--token-file", given->security.token_file,
                                     "Or tokens of this file: lines ROLE TOKEN (mode 0600)");
  auto* lease = command->add_option("--lease", given->lease, "Seconds after which a silent worker is lost")
                    ->capture_default_str();
  auto* keep_ended =
      command->add_option("--keep-ended", given->keep_ended, "Jobs that have ended: so many are kept, the latest")
          ->capture_default_str();
  auto* metrics = command->add_option("--metrics-listen", given->metrics_listen,
                                      "HOST:PORT of /metrics, /sd and /healthz for Prometheus (default: none)");
  auto* console =
      command->add_option("--console-listen", given->console_listen,
                          "HOST:PORT of the console, a web page; it asks for what --listen asks (default: none)");
  command->add_flag("--metrics-open", given->metrics_open, "Let other machines reach them: nobody is asked who he is");
  command->add_flag("--quiet", options->quiet, "Do not print what happens");
  command->callback([=, &exit_code] {
    CoordinatorSettings& settings = options->settings;
    if (!options->config.empty())
      if (absl::Status status = ReadCoordinatorSettings(options->config, settings); !status.ok()) {
        exit_code = Finish(status);
        return;
      }
    Override(listen, given->listen, settings.listen);
    Override(journal, given->journal, settings.journal);
    Override(certificate, given->security.certificate, settings.security.certificate);
    Override(key, given->security.key, settings.security.key);
    Override(client_ca, given->security.client_ca, settings.security.client_ca);
    Override(tokens, given->security.token_file, settings.security.token_file);
    Override(metrics, given->metrics_listen, settings.metrics_listen);
    Override(console, given->console_listen, settings.console_listen);
    settings.metrics_open |= given->metrics_open;
    if (lease->count() > 0) settings.lease = given->lease;
    if (keep_ended->count() > 0) settings.keep_ended = given->keep_ended;
    exit_code = RunCoordinator(*options);
  });
}

}  // namespace filigree::cli
