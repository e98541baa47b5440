#include "coordinator/certs/certs.h"

#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/cli/print.h"

// filigree certs DIR: a private CA and certificates for a small cluster.

namespace filigree::cli {
namespace {

struct CertsOptions {
  std::string folder;
  std::vector<std::string> hosts, workers, admins, readers;
  int days = 365;
  bool any_worker = false;
};

std::vector<certs::Subject> SubjectsOf(const CertsOptions& options) {
  std::vector<certs::Subject> subjects;
  if (!options.hosts.empty()) subjects.push_back({"coordinator", options.hosts, ""});
  for (const std::string& name : options.workers) subjects.push_back({"worker-" + name, {}, "worker/" + name});
  if (options.any_worker) subjects.push_back({"worker", {}, "worker"});
  for (const std::string& name : options.admins) subjects.push_back({"admin-" + name, {}, "admin"});
  for (const std::string& name : options.readers) subjects.push_back({"reader-" + name, {}, "reader"});
  return subjects;
}

absl::Status MakeCerts(const CertsOptions& options) {
  certs::Validity validity;
  validity.until = std::chrono::hours(24 * options.days);
  if (!certs::HasAuthority(options.folder)) {
    certs::Validity authority;
    authority.until = std::chrono::hours(24 * 3650);
    if (absl::Status status = certs::MakeAuthority(options.folder, authority); !status.ok()) return status;
    Print("{}: a new CA, good for ten years; its key {} stays here\n", certs::CertificatePath(options.folder, "ca"),
          certs::KeyPath(options.folder, "ca"));
  }
  // One that is there already keeps nobody else from getting his.
  absl::Status there;
  for (const certs::Subject& subject : SubjectsOf(options)) {
    const absl::Status status = certs::Issue(options.folder, subject, validity);
    if (absl::IsAlreadyExists(status)) {
      Finish(there);
      there = status;
      continue;
    }
    if (!status.ok()) return status;
    Print("{}: {}, {} days\n", certs::CertificatePath(options.folder, subject.name),
          subject.role.empty() ? "server" : subject.role, options.days);
  }
  return there;
}

}  // namespace

void AddCertsCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("certs", "Make a private CA and certificates for a small cluster");
  auto options = std::make_shared<CertsOptions>();
  command->add_option("folder", options->folder, "Where the files are; the CA is made where there is none")->required();
  command->add_option("--host", options->hosts, "A name or address of the coordinator: its certificate");
  command->add_option("--worker", options->workers, "A worker's name: a certificate that speaks for it alone");
  command->add_flag("--any-worker", options->any_worker, "A certificate that speaks for every worker");
  command->add_option("--admin", options->admins, "Who may submit, cancel and drain");
  command->add_option("--reader", options->readers, "Who may look");
  command->add_option("--days", options->days, "How long the certificates are good")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  command->footer("Files are never overwritten, so more can be added later with the same folder.");
  command->callback([options, &exit_code] { exit_code = Finish(MakeCerts(*options)); });
}

}  // namespace filigree::cli
