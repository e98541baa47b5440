#include "worker/config/read_toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "worker/config/load.h"
#include "worker/config/nearest.h"
#include "worker/config/value.h"

namespace filigree::config {
namespace {

// toml++ builds a table for every part of a dotted key and frees them recursively: a line of dots without end would
// exhaust the stack. No settings come near this many.
constexpr int kMostDots = 4096;

class Walk {
 public:
  Walk(const std::string& name, Settings& settings, Places& places)
      : name_(name), settings_(settings), places_(places) {}

  void File(const toml::table& file) {
    for (const auto& [key, node] : file) {
      const std::string section(key.str());
      const toml::table* table = node.as_table();
      if (!IsSection(section))
        Unknown(key.source(), table != nullptr ? fmt::format("section [{}]", section) : "key " + Quoted(section),
                section, table != nullptr);
      else if (table == nullptr)
        Found(key.source(), fmt::format("{} is a section; write [{}] and its keys below", section, section));
      else
        Section(section, *table);
    }
  }

  absl::Status status() const { return text_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(text_); }

 private:
  static bool IsSection(const std::string& name) {
    return std::any_of(Keys().begin(), Keys().end(), [&](const Key& key) { return key.section() == name; });
  }

  void Section(const std::string& section, const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name = section + "." + std::string(key.str());
      if (const Key* known = FindKey(name)) {
        Value(*known, node);
        places_[name] = Place(key.source());
      } else {
        Unknown(key.source(), "key " + Quoted(name), name, false);
      }
    }
  }

  void Value(const Key& key, const toml::node& node) {
    const std::optional<Raw> raw = ToRaw(node);
    if (!raw) {
      Found(node.source(), Wrong(key, Kind(node)));
      return;
    }
    const std::string wrong = Set(key, *raw, settings_);
    if (!wrong.empty()) Found(node.source(), wrong);
  }

  static std::optional<Raw> ToRaw(const toml::node& node) {
    if (const auto* value = node.as_integer()) return Raw(value->get());
    if (const auto* value = node.as_floating_point()) return Raw(value->get());
    if (const auto* value = node.as_boolean()) return Raw(value->get());
    if (const auto* value = node.as_string()) return Raw(value->get());
    const toml::array* array = node.as_array();
    if (array == nullptr) return std::nullopt;
    std::vector<std::string> words;
    for (const toml::node& element : *array) {
      const auto* word = element.as_string();
      if (word == nullptr) return std::nullopt;
      words.push_back(word->get());
    }
    return Raw(std::move(words));
  }

  static std::string Kind(const toml::node& node) {
    if (node.is_table()) return "a table";
    if (node.is_array()) return "a list of other things than text";
    return "a date or time";
  }

  void Unknown(const toml::source_region& where, const std::string& what, const std::string& name, bool section) {
    std::string nearest = NearestKey(name);
    if (section) nearest = fmt::format("[{}]", NearestSection(name));
    Found(where, fmt::format("unknown {}; the nearest known one is {}", what, nearest));
  }

  static std::string NearestSection(const std::string& name) {
    std::vector<std::string> sections;
    for (const Key& key : Keys()) sections.push_back(key.section());
    return NearestWord(name, sections);
  }

  std::string Place(const toml::source_region& where) const {
    return fmt::format("{}:{}:{}", name_, where.begin.line, where.begin.column);
  }

  // Tables are walked by name; the first problem is the one that stands first in the file.
  void Found(const toml::source_region& where, const std::string& text) {
    const auto position = std::make_tuple(where.begin.line, where.begin.column);
    if (!text_.empty() && first_ <= position) return;
    first_ = position;
    text_ = Place(where) + ": " + text;
  }

  const std::string& name_;
  Settings& settings_;
  Places& places_;
  std::tuple<toml::source_index, toml::source_index> first_;
  std::string text_;
};

}  // namespace

absl::Status ReadToml(std::string_view text, const std::string& name, Settings& settings, Places& places) {
  if (static_cast<int64_t>(text.size()) > kMaxFileBytes)
    return absl::InvalidArgumentError(
        fmt::format("{}: {} bytes are no configuration; at most {} are read", name, text.size(), kMaxFileBytes));
  if (std::count(text.begin(), text.end(), '.') > kMostDots)
    return absl::InvalidArgumentError(
        fmt::format("{}: more than {} dots are no configuration; is this another file?", name, kMostDots));
  try {
    const toml::table file = toml::parse(text, std::string_view(name));
    Walk walk(name, settings, places);
    walk.File(file);
    return walk.status();
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(fmt::format("{}:{}:{}: not TOML: {}", name, error.source().begin.line,
                                                  error.source().begin.column, std::string(error.description())));
  }
}

}  // namespace filigree::config
