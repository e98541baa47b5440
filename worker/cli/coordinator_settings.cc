#include "worker/cli/coordinator_settings.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <map>
#include <string_view>
#include <vector>

#include "proto/rpc/channel.h"
#include "worker/config/nearest.h"

namespace filigree::cli {
namespace {

std::string Place(const std::string& path, const toml::source_region& region) {
  return fmt::format("{}:{}:{}", path, region.begin.line, region.begin.column);
}

// [coordinator] of the parsed file; null: there is none.
absl::Status ReadSection(const std::string& path, const toml::table& section, CoordinatorSettings& settings) {
  const std::map<std::string_view, std::string*> texts = {{"listen", &settings.listen},
                                                          {"journal", &settings.journal},
                                                          {"tls_cert", &settings.security.certificate},
                                                          {"tls_key", &settings.security.key},
                                                          {"tls_client_ca", &settings.security.client_ca},
                                                          {"token_file", &settings.security.token_file},
                                                          {"metrics_listen", &settings.metrics_listen},
                                                          {"console_listen", &settings.console_listen}};
  std::vector<std::string> known = {"lease", "keep_ended", "metrics_open"};
  for (const auto& [name, text] : texts) known.emplace_back(name);
  for (const auto& [key, value] : section) {
    const std::string name(key.str());
    const std::string place = Place(path, value.source());
    const auto found = texts.find(name);
    if (found != texts.end()) {
      if (!value.is_string())
        return absl::InvalidArgumentError(fmt::format("{}: coordinator.{}: a text was expected", place, name));
      *found->second = value.as_string()->get();
    } else if (name == "lease") {
      const auto seconds = value.value<double>();
      if (!seconds)
        return absl::InvalidArgumentError(fmt::format("{}: coordinator.lease: seconds were expected", place));
      settings.lease = *seconds;
    } else if (name == "keep_ended") {
      if (!value.is_integer())
        return absl::InvalidArgumentError(fmt::format("{}: coordinator.keep_ended: a number was expected", place));
      settings.keep_ended = value.as_integer()->get();
    } else if (name == "metrics_open") {
      if (!value.is_boolean())
        return absl::InvalidArgumentError(
            fmt::format("{}: coordinator.metrics_open: true or false was expected", place));
      settings.metrics_open = value.as_boolean()->get();
    } else {
      return absl::InvalidArgumentError(fmt::format("{}: coordinator.{} is unknown; did you mean {}?", place,
                                                    config::Quoted(name), config::NearestWord(name, known)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadCoordinatorSettings(const std::string& path, CoordinatorSettings& settings) {
  const auto text = rpc::ReadCredentialFile(path, false);
  if (!text.ok()) return text.status();
  toml::table file;
  try {
    file = toml::parse(*text, path);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", Place(path, error.source()), std::string(error.description())));
  }
  const toml::node* section = file.get("coordinator");
  if (section == nullptr) return absl::InvalidArgumentError(path + ": has no section [coordinator]");
  if (!section->is_table()) return absl::InvalidArgumentError(path + ": coordinator is no section");
  return ReadSection(path, *section->as_table(), settings);
}

}  // namespace filigree::cli
