#include "worker/config/load.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "worker/config/auto_policy.h"
#include "worker/config/nearest.h"
#include "worker/config/read_toml.h"
#include "worker/config/rules.h"
#include "worker/config/value.h"

namespace filigree::config {
namespace {

absl::Status Override(const std::string& argument, Settings& settings, Places& places) {
  const std::string_view text =
      argument.starts_with("--") ? std::string_view(argument).substr(2) : std::string_view(argument);
  const size_t equals = text.find('=');
  const std::string name(text.substr(0, equals));
  const std::string label = equals == std::string_view::npos ? Quoted(argument) : "--" + std::string(text);
  const Key* key = FindKey(name);
  if (key == nullptr)
    return absl::InvalidArgumentError(
        fmt::format("{}: unknown key {}; the nearest known one is {}", label, Quoted(name), NearestKey(name)));
  if (equals == std::string_view::npos)
    return absl::InvalidArgumentError(fmt::format("{}: has no value; write --{}=VALUE", label, name));
  const std::string wrong = Set(*key, FromText(*key, text.substr(equals + 1)), settings);
  if (!wrong.empty()) return absl::InvalidArgumentError(fmt::format("{}: {}", label, wrong));
  places[name] = label;
  return absl::OkStatus();
}

// With an empty path: nothing.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  if (path.empty()) return std::string();
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return absl::InvalidArgumentError(fmt::format("{}: is a folder; a configuration file was expected", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const std::string text = fmt::format("{}: cannot be read: {}", path, std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(text) : absl::PermissionDeniedError(text);
  }
  // One byte more than is taken tells a long file, or one without an end, from a whole one.
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return absl::DataLossError(fmt::format("{}: reading failed", path));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// What file and overrides say, each key in its range.
absl::Status Read(std::string_view text, const std::string& name, const std::vector<std::string>& overrides,
                  Settings& settings, Places& places) {
  if (absl::Status status = ReadToml(text, name, settings, places); !status.ok()) return status;
  for (const std::string& argument : overrides)
    if (absl::Status status = Override(argument, settings, places); !status.ok()) return status;
  return absl::OkStatus();
}

// What a broken rule says, behind the place of the key that is likeliest to be changed.
absl::Status Located(const Problem& problem, const Places& places) {
  for (const bool of_command_line : {true, false})
    for (const std::string& key : problem.keys) {
      const auto place = places.find(key);
      if (place != places.end() && place->second.starts_with("--") == of_command_line)
        return absl::InvalidArgumentError(place->second + ": " + problem.text);
    }
  return absl::InvalidArgumentError(problem.text);
}

}  // namespace

absl::StatusOr<Settings> Load(const std::string& path, const std::vector<std::string>& overrides,
                              const Settings* going_on) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  return Parse(*text, path, overrides, going_on);
}

absl::StatusOr<Settings> Parse(std::string_view text, const std::string& name,
                               const std::vector<std::string>& overrides, const Settings* going_on) {
  Settings settings = DefaultSettings();
  Places places;
  if (absl::Status status = Read(text, name, overrides, settings, places); !status.ok()) return status;
  Resolve(settings, going_on);
  if (const Problem problem = FirstBrokenRule(settings); !problem.keys.empty()) return Located(problem, places);
  return settings;
}

absl::StatusOr<std::string> RunDirOf(const std::string& path, const std::vector<std::string>& overrides) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  Settings settings = DefaultSettings();
  Places places;
  if (absl::Status status = Read(*text, path, overrides, settings, places); !status.ok()) return status;
  return settings.run.dir;
}

void Resolve(Settings& settings, const Settings* going_on) {
  if (settings.model.d_mlp == 0) settings.model.d_mlp = 4 * settings.model.d_model;
  if (going_on != nullptr) KeepPolicy(going_on->sparsity, settings.sparsity);
  if (!settings.init.from.empty()) StartDense(settings.sparsity);
  FillPolicy(settings.sparsity);
  if (settings.run.name.empty()) {
    const std::filesystem::path dir = std::filesystem::path(settings.run.dir).lexically_normal();
    settings.run.name = (dir.has_filename() ? dir : dir.parent_path()).filename().string();
  }
}

absl::Status Validate(const Settings& settings) {
  for (const Key& key : Keys())
    if (const std::string wrong = CheckRange(key, settings); !wrong.empty()) return absl::InvalidArgumentError(wrong);
  const Problem problem = FirstBrokenRule(settings);
  return problem.keys.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem.text);
}

absl::Status RequirePaths(const Settings& settings) {
  if (settings.run.dir.empty())
    return absl::InvalidArgumentError(
        "run.dir is not set: it names the run folder, as in --run.dir=runs/first or dir = \"runs/first\" under [run]");
  if (settings.data.dir.empty())
    return absl::InvalidArgumentError(
        "data.dir is not set: it names the folder that `filigree prepare` wrote, as in --data.dir=data/python");
  return absl::OkStatus();
}

std::string ToToml(const Settings& settings) {
  std::string out, section;
  for (const Key& key : Keys()) {
    if (key.section() != section) {
      section = key.section();
      out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", section);
    }
    out += fmt::format("{} = {}\n", key.key(), FormatValue(key, settings));
  }
  return out;
}

}  // namespace filigree::config
